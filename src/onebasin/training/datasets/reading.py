"""Reading: the rows of a source decoded into files of plain numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onebasin.errors import OneBasinError
from onebasin.training.datasets import texts
from onebasin.training.datasets.images import ImageForm, decode, form_of
from onebasin.training.datasets.source import Columns, Table, find_columns

Progress = Callable[[int, int], None]
MAX_THREADS = 8


@dataclass(frozen=True)
class Reading:
    """How the rows of a source are read.

    Args:
        input_column: name of the column with images or texts; found where it is not given.
        label_column: name of the column with classes; found where it is not given.
        image_size: height and width that images are scaled to; without it they must all have
            one size.
        crop: share of a scaled image that is kept.
        tokenizer: what makes tokens of texts.
        max_length: tokens of a text.
    """

    input_column: str | None = None
    label_column: str | None = None
    image_size: int | None = None
    crop: float = 1.0
    tokenizer: str = texts.BYTES
    max_length: int = 128

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.image_size is not None and self.image_size < 1:
            raise OneBasinError(f"data: image_size is {self.image_size}; it must be at least 1")

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return asdict(self)


def decode_tables(
    tables: Mapping[str, Table], reading: Reading, folder: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Decode the splits of a source into files `SPLIT_inputs.bin` and `SPLIT_labels.bin`.

    Args:
        tables: the splits.
        reading: how they are read.
        folder: where the files are written.
        progress: called with the number of rows done and their total.

    Returns:
        What the files hold: kind of inputs, class names, number of classes, shapes and types of
        tensors, and of images the mean and deviation of each channel.

    Raises:
        OneBasinError: when a column is missing, or a row is broken.
    """
    first = next(iter(tables.values()))
    columns = find_columns(first, inputs=reading.input_column, labels=reading.label_column)
    inputs = _Texts(reading) if columns.is_text else _Images(reading)
    names = first.class_names.get(columns.labels, ())
    total, done, largest = sum(table.num_rows for table in tables.values()), 0, -1
    tensors = {}
    for split, table in tables.items():
        if find_columns(table, inputs=columns.inputs, labels=columns.labels) != columns:
            raise OneBasinError(f"data: {table.place} has other columns than {first.place}")
        count = 0
        with (
            (folder / f"{split}_inputs.bin").open("wb") as input_file,
            (folder / f"{split}_labels.bin").open("wb") as label_file,
        ):
            for where, row, values, classes in _rows(table, columns):
                inputs.decode(values, where, row, split).tofile(input_file)
                labels = _labels(classes, len(names), where, row)
                labels.tofile(label_file)
                largest = max(largest, int(labels.max()))
                count += len(values)
                if progress is not None:
                    progress(done + count, total)
        if count == 0:
            raise OneBasinError(f"data: {table.place} has no rows; fetch it again")
        done += count
        tensors[f"{split}_inputs"] = {"dtype": inputs.dtype, "shape": [count, *inputs.shape]}
        tensors[f"{split}_labels"] = {"dtype": "int64", "shape": [count]}
    return {
        **inputs.facts(),
        "class_names": list(names),
        "num_classes": len(names) or largest + 1,
        "tensors": tensors,
    }


def _rows(table: Table, columns: Columns) -> Iterator[tuple[str, int, list[Any], list[Any]]]:
    """Yield pieces: where they come from, number of the first row there, inputs and labels."""
    place, row = None, 0
    for where, piece in table.read([columns.inputs, columns.labels]):
        row = 0 if where != place else row
        place = where
        yield where, row, piece[columns.inputs], piece[columns.labels]
        row += len(piece[columns.labels])


def _labels(classes: Sequence[Any], num_names: int, where: str, first_row: int) -> np.ndarray:
    for place, label in enumerate(classes):
        if label is None or label < 0 or (num_names and label >= num_names):
            allowed = f"0 to {num_names - 1}" if num_names else "0 or more"
            raise OneBasinError(
                f"data: {where}, row {first_row + place}: the label is {label}; it must be "
                f"{allowed}; choose a split that has labels"
            )
    return np.asarray(classes, dtype=np.int64)


class _Images:
    """Images as bytes, all of the form of the first, with the sums of the training set's."""

    dtype = "uint8"

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.form: ImageForm | None = None
        self.pool = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
        self.count, self.sums, self.squares = 0, np.zeros(3), np.zeros(3)

    @property
    def shape(self) -> tuple[int, ...]:
        assert self.form is not None
        return (self.form.channels, self.form.height, self.form.width)

    def decode(self, values: Sequence[Any], where: str, row: int, split: str) -> np.ndarray:
        if self.form is None:
            size, crop = self.reading.image_size, self.reading.crop
            self.form = form_of(values[0], f"{where}, row {row}", image_size=size, crop=crop)
        pixels = decode(values, self.form, where, row, self.pool)
        if split == "train":
            flat = pixels.transpose(1, 0, 2, 3).reshape(self.form.channels, -1)
            counts = np.stack([np.bincount(channel, minlength=256) for channel in flat])
            self.count += flat.shape[1]
            self.sums[: len(counts)] += counts @ np.arange(256.0)
            self.squares[: len(counts)] += counts @ np.arange(256.0) ** 2
        return pixels

    def facts(self) -> dict[str, Any]:
        self.pool.shutdown()
        mean = self.sums[: self.shape[0]] / self.count
        variance = self.squares[: self.shape[0]] / self.count - mean**2
        # Images of one colour have no deviation; they stay what they are.
        deviation = np.where(variance > 0, np.sqrt(np.maximum(variance, 0)), 255)
        return {
            "kind": "images",
            "mean": (mean / 255).tolist(),
            "deviation": (deviation / 255).tolist(),
        }


class _Texts:
    """Texts as tokens."""

    dtype = "int32"

    def __init__(self, reading: Reading) -> None:
        self.length = reading.max_length
        self.tokenizer = texts.tokenizer(reading.tokenizer, reading.max_length)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def decode(self, values: Sequence[Any], where: str, row: int, split: str) -> np.ndarray:
        return texts.encode(values, self.tokenizer, self.length, where, row)

    def facts(self) -> dict[str, Any]:
        return {"kind": "texts", "vocabulary": self.tokenizer.vocabulary}
