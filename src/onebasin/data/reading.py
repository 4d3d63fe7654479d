"""Decoding of the rows of a source into files of plain numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from onebasin.data.decoders import Decoder, Reading, decoder
from onebasin.data.source import Columns, Table, find_columns
from onebasin.errors import OneBasinError

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
