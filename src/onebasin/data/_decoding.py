"""Decoding of the images or texts of a source to arrays."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from onebasin.data import _texts
from onebasin.data._images import ImageForm, decode, form_of
from onebasin.data._sources import Columns, Table, find_columns
from onebasin.errors import OneBasinError, check_whole

MAX_THREADS = 8
CHUNK_BYTES = 1 << 26
"""Largest number of bytes of pixels that are decoded at once."""


@dataclass(frozen=True)
class Reading:
    """How the rows of a source are read.

    Args:
        input_column: name of the column with images or texts. Default: found by type.
        label_column: name of the column with classes. Default: found by name.
        image_size: height and width of scaled images; None requires images of equal size.
        crop: fraction of a scaled image that remains.
        tokenizer: name of the tokenizer of texts.
        max_length: number of tokens of a text, or of a block of unlabeled text.
    """

    input_column: str | None = None
    label_column: str | None = None
    image_size: int | None = None
    crop: float = 1.0
    tokenizer: str = _texts.BYTES
    max_length: int = 128

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.image_size is not None:
            check_whole("data", "image_size", self.image_size, least=1)
        if not (isinstance(self.crop, Real) and 0 < self.crop <= 1):
            raise OneBasinError(
                f"data: crop is {self.crop!r}; it is a share, above 0 and at most 1"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class Decoder(ABC):
    """Decodes inputs to arrays."""

    dtype: str

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one input; known after the first one."""

    @abstractmethod
    def decode(self, values: Sequence[Any], where: str, row: int, split: str) -> np.ndarray:
        """Decode inputs.

        Args:
            values: the inputs.
            where: source of the inputs, for messages.
            row: row of the first input, for messages.
            split: split of the inputs.

        Returns:
            An array `(n, *shape)` of type `dtype`. Unlabeled text gives another number of blocks.

        Raises:
            OneBasinError: an input is broken; the message has its row.
        """

    def finish(self) -> np.ndarray | None:
        """Return the remaining inputs at the end of a split, if any."""
        return None

    def chunks(self, values: Sequence[Any], where: str, row: int) -> int:
        """Return the number of values that can be decoded at once in bounded memory."""
        return len(values)

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return the metadata of the decoded inputs."""

    def close(self) -> None:
        """Free the resources of decoding."""
        return


def decoder(columns: Columns, reading: Reading) -> Decoder:
    """Return the decoder of the inputs of a source.

    Args:
        columns: columns of the inputs and labels.
        reading: how rows are read.
    """
    if not columns.is_text:
        return ImageDecoder(reading)
    return TextDecoder(reading) if columns.labels is not None else BlockDecoder(reading)


class ImageDecoder(Decoder):
    """Images as bytes, all in the form of the first one, and sums over the training split."""

    dtype = "uint8"

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.form: ImageForm | None = None
        self.pool = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
        self.count, self.sums, self.squares = 0, np.zeros(3), np.zeros(3)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image, `(channels, height, width)`."""
        assert self.form is not None
        return (self.form.channels, self.form.height, self.form.width)

    def decode(self, values: Sequence[Any], where: str, row: int, split: str) -> np.ndarray:
        """Decode images, and add up the values of the training split."""
        form = self._form(values, where, row)
        pixels = decode(values, form, where, row, self.pool)
        if split == "train":
            self._add_up(pixels)
        return pixels

    def chunks(self, values: Sequence[Any], where: str, row: int) -> int:
        """Return the number of images that can be decoded at once in bounded memory."""
        form = self._form(values, where, row)
        return max(1, CHUNK_BYTES // (form.channels * form.height * form.width))

    def _form(self, values: Sequence[Any], where: str, row: int) -> ImageForm:
        if self.form is None:
            size, crop = self.reading.image_size, self.reading.crop
            self.form = form_of(values[0], f"{where}, row {row}", image_size=size, crop=crop)
        return self.form

    def _add_up(self, pixels: UInt8[np.ndarray, "n c h w"]) -> None:
        flat = pixels.transpose(1, 0, 2, 3).reshape(pixels.shape[1], -1)
        counts = np.stack([np.bincount(channel, minlength=256) for channel in flat])
        self.count += flat.shape[1]
        self.sums[: len(counts)] += counts @ np.arange(256.0)
        self.squares[: len(counts)] += counts @ np.arange(256.0) ** 2

    def close(self) -> None:
        """Stop the threads."""
        self.pool.shutdown()

    def facts(self) -> dict[str, Any]:
        """Return the kind, and the mean and std of each channel of the training split."""
        mean = self.sums[: self.shape[0]] / self.count
        variance = self.squares[: self.shape[0]] / self.count - mean**2
        # Images of one color have standard deviation 0; they are not scaled.
        deviation = np.where(variance > 0, np.sqrt(np.maximum(variance, 0)), 255)
        return {
            "kind": "images",
            "mean": (mean / 255).tolist(),
            "deviation": (deviation / 255).tolist(),
        }


class TextDecoder(Decoder):
    """Texts as tokens; a row has the number of tokens, then the tokens."""

    dtype = "int32"

    def __init__(self, reading: Reading) -> None:
        self.length = reading.max_length
        self.tokenizer = _texts.tokenizer(reading.tokenizer, reading.max_length)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one text, `(1 + length,)`."""
        return (1 + self.length,)

    def decode(self, values: Sequence[Any], where: str, row: int, split: str) -> np.ndarray:
        """Return the tokens of texts."""
        return _texts.encode(values, self.tokenizer, self.length, where, row)

    def facts(self) -> dict[str, Any]:
        """Return the kind and the number of different tokens."""
        return {"kind": "texts", "vocabulary": self.tokenizer.vocabulary}


class BlockDecoder(TextDecoder):
    """Unlabeled texts as blocks of tokens for language models, one text after the other."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self.left: list[int] = []

    def decode(self, values: Sequence[Any], where: str, row: int, split: str) -> np.ndarray:
        """Return all complete blocks; the remaining tokens begin the next one."""
        _texts.check_texts(values, where, row)
        for text in values:
            self.left += self.tokenizer.encode_all(text)
        whole = len(self.left) // self.length * self.length
        blocks = np.array(self.left[:whole], dtype=np.int32).reshape(-1, self.length)
        self.left = self.left[whole:]
        return np.insert(blocks, 0, self.length, axis=1)

    def finish(self) -> np.ndarray | None:
        """Return the last block, padded."""
        last, self.left = self.left, []
        return _texts.padded([last], self.tokenizer, self.length) if last else None


MAX_CLASSES = 1_000_000
"""Largest number of classes without names; larger labels are other numbers."""

BOMB_BYTES, BOMB_RATIO = 1 << 30, 1000
"""Rows that exceed both limits when decompressed raise an error."""

Progress = Callable[[int, int], None]


def decode_tables(
    tables: Mapping[str, Table],
    reading: Reading,
    folder: Path,
    progress: Progress | None = None,
    *,
    needs_labels: bool = True,
) -> dict[str, Any]:
    """Write the splits of a source as files `SPLIT_inputs.bin` and `SPLIT_labels.bin`.

    Args:
        tables: the splits.
        reading: how rows are read.
        folder: folder of the files.
        progress: function of the number of decoded rows and their total.
        needs_labels: whether tables without a label column raise an error.

    Returns:
        Metadata: kind of inputs, class names, number of classes, shapes and dtypes of tensors, and
        the mean and standard deviation of each channel of images.

    Raises:
        OneBasinError: a column is missing, or a row is broken.
    """
    for table in tables.values():
        if not table.num_rows:
            raise OneBasinError(f"data: {table.place} has no rows; fetch it again")
    first = next(iter(tables.values()))
    columns = find_columns(
        first,
        inputs=reading.input_column,
        labels=reading.label_column,
        needs_labels=needs_labels,
    )
    names = first.class_names.get(columns.labels or "", ())
    total, done, largest, tensors = sum(table.num_rows for table in tables.values()), 0, -1, {}
    with contextlib.closing(decoder(columns, reading)) as inputs:
        for split, table in tables.items():
            named = {"inputs": columns.inputs, "labels": columns.labels}
            if find_columns(table, **named, needs_labels=needs_labels) != columns:
                raise OneBasinError(f"data: {table.place} has other columns than {first.place}")
            pieces, stored = _rows(table, columns, names), 0
            for rows, written, largest_label in _decode_split(split, pieces, inputs, folder):
                done, stored = done + rows, stored + written
                largest = max(largest, largest_label)
                if progress is not None:
                    progress(done, total)
            shape = [stored, *inputs.shape]
            tensors[f"{split}_inputs"] = {"dtype": inputs.dtype, "shape": shape}
            if columns.labels is not None:
                tensors[f"{split}_labels"] = {"dtype": "int64", "shape": shape[:1]}
        return {
            **inputs.facts(),
            "class_names": list(names),
            "num_classes": None if columns.labels is None else len(names) or largest + 1,
            "tensors": tensors,
        }


@dataclass(frozen=True)
class Piece:
    """Some rows of a table.

    Args:
        where: source of the rows.
        row: index of the first row in the source.
        inputs: their inputs.
        labels: their labels, or None.
    """

    where: str
    row: int
    inputs: Sequence[Any]
    labels: Int64[np.ndarray, " n"] | None

    def parts(self, size: int) -> Iterator[Piece]:
        """Yield the rows in pieces of at most a size."""
        for start in range(0, len(self.inputs), size):
            rows = slice(start, start + size)
            labels = None if self.labels is None else self.labels[rows]
            yield Piece(self.where, self.row + start, self.inputs[rows], labels)


def _decode_split(
    split: str, pieces: Iterable[Piece], inputs: Decoder, folder: Path
) -> Iterator[tuple[int, int, int]]:
    """Write the files of a split; yield the rows read, the rows written and the largest label."""
    with (
        (folder / f"{split}_inputs.bin").open("wb") as input_file,
        (folder / f"{split}_labels.bin").open("wb") as label_file,
    ):
        size, packed = 0, 0
        for piece in pieces:
            for part in piece.parts(inputs.chunks(piece.inputs, piece.where, piece.row)):
                decoded = inputs.decode(part.inputs, part.where, part.row, split)
                decoded.tofile(input_file)
                size += decoded.nbytes
                packed += sum(map(_packed_size, part.inputs))
                if size > BOMB_BYTES and size > BOMB_RATIO * packed:
                    raise OneBasinError(
                        f"data: {part.where} unpacks to more than {BOMB_RATIO} times its size; "
                        "pass ordinary images or texts"
                    )
                if part.labels is not None:
                    part.labels.tofile(label_file)
                largest = -1 if part.labels is None else int(part.labels.max())
                yield len(part.inputs), len(decoded), largest
        last = inputs.finish()
        if last is not None:
            last.tofile(input_file)
            yield 0, len(last), -1


def _packed_size(value: Any) -> int:
    value = value.get("bytes") if isinstance(value, dict) else value
    return len(value) if isinstance(value, str | bytes) else 0


def _rows(table: Table, columns: Columns, names: Sequence[str]) -> Iterator[Piece]:
    place, row = None, 0
    for where, rows in table.read(columns.names):
        row = 0 if where != place else row
        place = where
        inputs = rows[columns.inputs]
        if not inputs:
            continue
        labels = None
        if columns.labels is not None:
            labels = _labels(rows[columns.labels], len(names), where, row)
        yield Piece(where, row, inputs, labels)
        row += len(inputs)


def _labels(
    classes: Sequence[Any], num_names: int, where: str, first_row: int
) -> Int64[np.ndarray, " n"]:
    for place, label in enumerate(classes):
        if label is None or not 0 <= label < (num_names or MAX_CLASSES):
            remedy = "choose a split that has labels"
            if label is not None and label >= MAX_CLASSES:
                remedy = "choose a column with classes as label_column"
            raise OneBasinError(
                f"data: {where}, row {first_row + place}: the label is {label}; it must be 0 to "
                f"{(num_names or MAX_CLASSES) - 1}; {remedy}"
            )
    return np.asarray(classes, dtype=np.int64)
