"""Reading: the rows of a source decoded into files of plain numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from onebasin.errors import OneBasinError
from onebasin.training.datasets.decoders import Decoder, Reading, decoder
from onebasin.training.datasets.source import Columns, Table, find_columns

MAX_CLASSES = 1_000_000
"""Of a column without names of classes; what is larger is no class but a number or a name."""

Progress = Callable[[int, int], None]


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
    for table in tables.values():
        if not table.num_rows:
            raise OneBasinError(f"data: {table.place} has no rows; fetch it again")
    first = next(iter(tables.values()))
    columns = find_columns(first, inputs=reading.input_column, labels=reading.label_column)
    names = first.class_names.get(columns.labels, ())
    total, done, largest, tensors = sum(table.num_rows for table in tables.values()), 0, -1, {}
    with contextlib.closing(decoder(columns, reading)) as inputs:
        for split, table in tables.items():
            if find_columns(table, inputs=columns.inputs, labels=columns.labels) != columns:
                raise OneBasinError(f"data: {table.place} has other columns than {first.place}")
            start = done
            for rows, largest_label in _decode_split(
                split, _rows(table, columns), inputs, len(names), folder
            ):
                done, largest = done + rows, max(largest, largest_label)
                if progress is not None:
                    progress(done, total)
            shape = [done - start, *inputs.shape]
            tensors[f"{split}_inputs"] = {"dtype": inputs.dtype, "shape": shape}
            tensors[f"{split}_labels"] = {"dtype": "int64", "shape": shape[:1]}
        return {
            **inputs.facts(),
            "class_names": list(names),
            "num_classes": len(names) or largest + 1,
            "tensors": tensors,
        }


Piece = tuple[str, int, list[Any], list[Any]]
"""Where rows come from, number of the first of them there, inputs and labels."""


def _decode_split(
    split: str, pieces: Iterable[Piece], inputs: Decoder, num_names: int, folder: Path
) -> Iterator[tuple[int, int]]:
    """Write the files of a split; yield number of rows and largest label of every piece."""
    with (
        (folder / f"{split}_inputs.bin").open("wb") as input_file,
        (folder / f"{split}_labels.bin").open("wb") as label_file,
    ):
        for where, row, values, classes in pieces:
            inputs.decode(values, where, row, split).tofile(input_file)
            labels = _labels(classes, num_names, where, row)
            labels.tofile(label_file)
            yield len(values), int(labels.max())


def _rows(table: Table, columns: Columns) -> Iterator[Piece]:
    place, row = None, 0
    for where, piece in table.read([columns.inputs, columns.labels]):
        row = 0 if where != place else row
        place = where
        yield where, row, piece[columns.inputs], piece[columns.labels]
        row += len(piece[columns.labels])


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
