"""Decoding of the images or texts of a source to arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from onebasin.data import _texts
from onebasin.data._images import ImageForm, decode, form_of
from onebasin.data._sources import Columns, Table, find_columns
from onebasin.errors import OneBasinError, check_whole

MAX_THREADS = 8
MAX_CLASSES = 1_000_000
"""Largest number of classes without names; columns with larger integers are not classes."""

CHUNK_BYTES = 1 << 26
"""Largest number of bytes of pixels that are decoded at once."""

BOMB_BYTES, BOMB_RATIO = 1 << 30, 1000
"""Rows that exceed both limits when decompressed raise an error."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reading:
    """Options for reading the rows of a source.

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
            check_whole("image_size", self.image_size, least=1)
        if not (isinstance(self.crop, Real) and 0 < self.crop <= 1):
            raise OneBasinError(
                f"data: crop is {self.crop!r}; pass a fraction above 0 and at most 1"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class ImageDecoder:
    """Decodes images to bytes in the form of the first image, and computes their statistics."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.form: ImageForm | None = None
        self.count, self.sums, self.squares = 0, np.zeros(3), np.zeros(3)

    def decode(self, values: Sequence[Any], where: str, row: int, split: str) -> np.ndarray:
        """Return the pixels of images; the training split determines the statistics.

        Args:
            values: the images.
            where: source of the images, for messages.
            row: row of the first image, for messages.
            split: split of the images.

        Raises:
            OneBasinError: an image is invalid; the message contains its row.
        """
        form = self._form(values, where, row)
        with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
            pixels = decode(values, form, where, row, pool)
        if split == "train":
            self._add_statistics(pixels)
        return pixels

    def chunk_size(self, values: Sequence[Any], where: str, row: int) -> int:
        """Return the number of images that can be decoded at once in bounded memory."""
        form = self._form(values, where, row)
        return max(1, CHUNK_BYTES // (form.channels * form.height * form.width))

    def finish(self) -> None:
        """Do nothing: there are no remaining rows at the end of a split."""

    def _form(self, values: Sequence[Any], where: str, row: int) -> ImageForm:
        if self.form is None:
            size, crop = self.reading.image_size, self.reading.crop
            self.form = form_of(values[0], f"{where}, row {row}", image_size=size, crop=crop)
        return self.form

    def _add_statistics(self, pixels: UInt8[np.ndarray, "n c h w"]) -> None:
        flat = pixels.transpose(1, 0, 2, 3).reshape(pixels.shape[1], -1)
        counts = np.stack([np.bincount(channel, minlength=256) for channel in flat])
        self.count += flat.shape[1]
        self.sums[: len(counts)] += counts @ np.arange(256.0)
        self.squares[: len(counts)] += counts @ np.arange(256.0) ** 2

    def metadata(self) -> dict[str, Any]:
        """Return the shape, and the mean and std of each channel of the training split."""
        assert self.form is not None
        mean = self.sums[: self.form.channels] / self.count
        variance = self.squares[: self.form.channels] / self.count - mean**2
        # Images of one color have standard deviation 0; they are not scaled.
        std = np.where(variance > 0, np.sqrt(np.maximum(variance, 0)), 255)
        return {
            "kind": "images",
            "shape": [self.form.channels, self.form.height, self.form.width],
            "mean": (mean / 255).tolist(),
            "std": (std / 255).tolist(),
        }


class TextDecoder:
    """Converts texts to tokens; a row has the number of tokens, then the tokens."""

    def __init__(self, reading: Reading) -> None:
        self.length = reading.max_length
        self.tokenizer = _texts.tokenizer(reading.tokenizer, reading.max_length)

    def decode(self, values: Sequence[Any], where: str, row: int, split: str) -> np.ndarray:
        """Return the tokens of texts; the arguments are those of `ImageDecoder.decode`."""
        return _texts.encode(values, self.tokenizer, self.length, where, row)

    def chunk_size(self, values: Sequence[Any], where: str, row: int) -> int:
        """Return the number of texts that can be decoded at once."""
        return len(values)

    def finish(self) -> np.ndarray | None:
        """Return the remaining rows at the end of a split, if any."""
        return None

    def metadata(self) -> dict[str, Any]:
        """Return the shape and the number of different tokens."""
        vocabulary = self.tokenizer.vocabulary
        return {"kind": "texts", "shape": [1 + self.length], "vocabulary": vocabulary}


class BlockDecoder(TextDecoder):
    """Concatenates unlabeled texts and cuts them into blocks of tokens for language models."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self.remaining: list[int] = []

    def decode(self, values: Sequence[Any], where: str, row: int, split: str) -> np.ndarray:
        """Return all complete blocks; the remaining tokens begin the next one."""
        _texts.check_texts(values, where, row)
        for text in values:
            self.remaining += self.tokenizer.encode_all(text)
        complete = len(self.remaining) // self.length * self.length
        blocks = np.array(self.remaining[:complete], dtype=np.int32).reshape(-1, self.length)
        self.remaining = self.remaining[complete:]
        return np.insert(blocks, 0, self.length, axis=1)

    def finish(self) -> np.ndarray | None:
        """Return the last block, padded."""
        last, self.remaining = self.remaining, []
        return _texts.padded([last], self.tokenizer, self.length) if last else None


class Decoding:
    """One pass over the rows of a source.

    Args:
        tables: the splits.
        reading: options for reading rows.
        progress: function of the number of decoded rows and their total.
        needs_labels: whether tables without a label column raise an error.

    Raises:
        OneBasinError: a column is missing, or a split has no rows.
    """

    def __init__(
        self,
        tables: Mapping[str, Table],
        reading: Reading,
        progress: Progress | None = None,
        *,
        needs_labels: bool = True,
    ) -> None:
        self.tables = tables
        self.progress = progress
        self.columns = _check_columns(tables, reading, needs_labels=needs_labels)
        first = next(iter(tables.values()))
        self.class_names = first.class_names.get(self.columns.labels or "", ())
        if not self.columns.is_text:
            self.decoder: ImageDecoder | TextDecoder = ImageDecoder(reading)
        elif self.columns.labels is not None:
            self.decoder = TextDecoder(reading)
        else:
            self.decoder = BlockDecoder(reading)
        self.total = sum(table.num_rows for table in tables.values())
        self.num_decoded, self.largest_label = 0, -1

    def rows(self, split: str) -> Iterator[tuple[np.ndarray, Int64[np.ndarray, " n"] | None]]:
        """Yield the decoded inputs of a split and their labels, a few thousand at a time.

        Raises:
            OneBasinError: a row is invalid.
        """
        size, encoded_size = 0, 0
        where = self.tables[split].source
        for where, row, inputs, labels in self._parts(self.tables[split]):
            decoded = self.decoder.decode(inputs, where, row, split)
            size += decoded.nbytes
            encoded_size += sum(map(_encoded_size, inputs))
            if size > BOMB_BYTES and size > BOMB_RATIO * encoded_size:
                raise OneBasinError(
                    f"data: {where} unpacks to more than {BOMB_RATIO} times its size; "
                    "pass ordinary images or texts"
                )
            if labels is not None:
                self.largest_label = max(self.largest_label, int(labels.max()))
            if len(decoded):
                yield decoded, labels
            self.num_decoded += len(inputs)
            if self.progress is not None:
                self.progress(self.num_decoded, self.total)
        last = self.decoder.finish()
        if last is not None:
            yield last, None
        elif not size:
            raise OneBasinError(f"data: {where} has no text; give at least one token")

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the decoded splits as plain JSON values."""
        num_classes = len(self.class_names) or self.largest_label + 1
        return {
            **self.decoder.metadata(),
            "class_names": list(self.class_names),
            "num_classes": None if self.columns.labels is None else num_classes,
        }

    def _parts(
        self, table: Table
    ) -> Iterator[tuple[str, int, Sequence[Any], Int64[np.ndarray, " n"] | None]]:
        """Yield the source, the first row, the inputs and the labels of small parts of a table."""
        source, row = None, 0
        for where, columns in table.read(self.columns.names):
            source, row = where, row if where == source else 0
            inputs = columns[self.columns.inputs]
            labels = None
            if self.columns.labels is not None:
                values = columns[self.columns.labels]
                labels = _labels(values, len(self.class_names), where, row)
            size = self.decoder.chunk_size(inputs, where, row) if inputs else 1
            for start in range(0, len(inputs), size):
                part = slice(start, start + size)
                yield where, row + start, inputs[part], None if labels is None else labels[part]
            row += len(inputs)


def _check_columns(tables: Mapping[str, Table], reading: Reading, *, needs_labels: bool) -> Columns:
    """Return the columns of inputs and labels, which all splits must have."""
    for table in tables.values():
        if not table.num_rows:
            raise OneBasinError(f"data: {table.source} has no rows; fetch it again")
    first = next(iter(tables.values()))
    inputs, labels = reading.input_column, reading.label_column
    columns = find_columns(first, inputs=inputs, labels=labels, needs_labels=needs_labels)
    for table in tables.values():
        names = {"inputs": columns.inputs, "labels": columns.labels}
        if find_columns(table, **names, needs_labels=needs_labels) != columns:
            raise OneBasinError(
                f"data: {table.source} has other columns than {first.source}; use the same columns "
                "in both"
            )
    return columns


def _encoded_size(value: Any) -> int:
    value = value.get("bytes") if isinstance(value, dict) else value
    return len(value) if isinstance(value, str | bytes) else 0


def _labels(
    classes: Sequence[Any], num_names: int, where: str, first_row: int
) -> Int64[np.ndarray, " n"]:
    limit = num_names or MAX_CLASSES
    for row, label in enumerate(classes, first_row):
        if label is None or not 0 <= label < limit:
            remedy = "choose a split that has labels"
            if label is not None and label >= MAX_CLASSES:
                remedy = "choose a column with classes as label_column"
            raise OneBasinError(
                f"data: {where}, row {row}: invalid label {label} (expected 0 to {limit - 1}); "
                f"{remedy}"
            )
    return np.asarray(classes, dtype=np.int64)
