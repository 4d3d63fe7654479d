"""Data in CSV files: numeric features or one column of texts, with or without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onebasin._text import one_line, some_names
from onebasin.data._decoded import decode_data
from onebasin.data._read_options import IMAGE_ONLY, TEXT_ONLY, ReadOptions
from onebasin.data._readers.arrays import classes_of, data_of_splits
from onebasin.data._sources import INPUT_NAMES, LABEL_NAMES, ROWS, Table, arrow
from onebasin.data.data import Data
from onebasin.errors import OneBasinError

CSV_LABELS = (*LABEL_NAMES, "y")


def read_csv_files(name: str, paths: Mapping[str, Path], options: ReadOptions) -> Data:
    """Return the data of CSV files.

    Args:
        name: name for messages and reports.
        paths: the file of each split.
        options: `label_column` is the name of the label column. Default: label, target, class
            or y, if there is one. `tokenizer` and `context` apply to texts.

    Raises:
        OneBasinError: a file cannot be parsed, or its columns are neither numbers nor texts.
    """
    options.check_unused("a CSV file", "image_size")
    tables = {split: _read(path) for split, path in paths.items()}
    first = next(iter(tables.values()))
    for split, table in tables.items():
        if table.column_names != first.column_names:
            raise OneBasinError(
                f"data: {paths[split]} has other columns than the training file; use "
                "the same columns"
            )
    label = _label_column(name, first, options.label_column)
    rest = [column for column in first.column_names if column != label]
    texts = [column for column in rest if _is_text(first, column)]
    labels = {s: _values(table, label) if label else None for s, table in tables.items()}
    if not texts:
        options.check_unused("a CSV file of numbers", *TEXT_ONLY)
        inputs = {split: _features(paths[split], table, rest) for split, table in tables.items()}
        splits = {split: (inputs[split], labels[split]) for split in tables}
        return data_of_splits(name, splits, options.normalization)
    options.check_unused("a CSV file of texts", *IMAGE_ONLY)
    text = _text_column(name, texts, [column for column in rest if column not in texts])
    columns = {s: table.column(text).to_pylist() for s, table in tables.items()}
    return text_data(name, columns, labels, paths, options)


def text_data(
    name: str,
    texts: Mapping[str, Sequence[Any]],
    labels: Mapping[str, np.ndarray | None],
    paths: Mapping[str, Path],
    options: ReadOptions,
) -> Data:
    """Return the data of texts in memory.

    Args:
        name: name for messages and reports.
        texts: the texts of each split.
        labels: the labels of each split, or None.
        paths: the file of each split.
        options: options of the tokenizer.
    """
    given = {split: values for split, values in labels.items() if values is not None}
    classes, names = classes_of(name, given)

    def table(split: str) -> Table:
        columns: dict[str, list[Any]] = {"text": list(texts[split])}
        if split in classes:
            columns["label"] = classes[split].tolist()

        def read(wanted: Sequence[str]) -> Iterator[tuple[str, Mapping[str, list[Any]]]]:
            for start in range(0, len(columns["text"]), ROWS):
                part = {c: columns[c][start : start + ROWS] for c in wanted}
                yield str(paths[split]), part

        kinds = {"text": "text"} | ({"label": "class"} if split in classes else {})
        class_names = {"label": names} if names else {}
        return Table(str(paths[split]), len(columns["text"]), kinds, class_names, read)  # pyright: ignore[reportArgumentType]

    reading = replace(options, label_column=None).to_reading()
    origin = {split: [*file_key(path), options.label_column] for split, path in paths.items()}
    return decode_data(name, lambda: {split: table(split) for split in texts}, origin, reading)


def file_key(path: Path) -> list[Any]:
    """Return JSON values that change when a file changes."""
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def _read(path: Path) -> Any:
    """Return a CSV file as a table; the first row has the names of the columns, or numbers."""
    arrow()
    import pyarrow.csv as csv

    parse = csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    parse.newlines_in_values = True
    try:
        table = csv.read_csv(path, parse_options=parse)
        if all(_is_number(name) for name in table.column_names):
            read = csv.ReadOptions(autogenerate_column_names=True)
            table = csv.read_csv(path, read_options=read, parse_options=parse)
            table = table.rename_columns(list(map(str, range(table.num_columns))))
    except (OSError, ValueError, arrow().ArrowException) as error:
        raise OneBasinError(
            f"data: {path} cannot be parsed as CSV ({one_line(error, limit=120)}); correct the file"
        ) from error
    if not table.num_rows or not table.num_columns:
        raise OneBasinError(f"data: {path} has no rows; give at least one example")
    if len(set(table.column_names)) < table.num_columns:
        names = table.column_names
        twice = next(name for name in names if names.count(name) > 1)
        raise OneBasinError(f"data: {path} has two columns {twice!r}; rename one of them")
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _label_column(name: str, table: Any, given: str | None) -> str | None:
    columns = table.column_names
    if given is not None and given not in columns:
        raise OneBasinError(
            f"data: {name} has no column {given!r}; pass one of its columns as label_column=: "
            f"{some_names(columns, limit=8)}"
        )
    lower = {column.lower(): column for column in columns}
    return given or next((lower[word] for word in CSV_LABELS if word in lower), None)


def _is_text(table: Any, column: str) -> bool:
    types, dtype = arrow().types, table.schema.field(column).type
    return types.is_string(dtype) or types.is_large_string(dtype)


def _text_column(name: str, texts: Sequence[str], numbers: Sequence[str]) -> str:
    named = [column for column in texts if column.lower() in INPUT_NAMES]
    if named or (len(texts) == 1 and not numbers):
        return (named or list(texts))[0]
    if len(texts) == 1:
        raise OneBasinError(
            f"data: {name} has numbers ({some_names(numbers)}) and texts ({texts[0]!r}); pass"
            f" label_column={texts[0]!r} if these are the labels, or name the inputs 'text'"
        )
    raise OneBasinError(
        f"data: {name} has several columns of text, {some_names(texts)}; name one of them text, "
        "and give numbers in the others"
    )


def _values(table: Any, column: str) -> np.ndarray:
    values = table.column(column)
    if values.null_count:
        raise OneBasinError(f"data: column {column!r} has empty fields; give a label in every row")
    return values.to_numpy() if not _is_text(table, column) else np.array(values.to_pylist())


def _features(path: Path, table: Any, columns: Sequence[str]) -> np.ndarray:
    types, arrays = arrow().types, []
    if not columns:
        raise OneBasinError(f"data: {path} has only a label column; add features")
    for column in columns:
        values = table.column(column)
        dtype = values.type
        if not (types.is_integer(dtype) or types.is_floating(dtype) or types.is_boolean(dtype)):
            raise OneBasinError(
                f"data: column {column!r} of {path} is {dtype}; give numbers or texts"
            )
        if values.null_count:
            raise OneBasinError(f"data: column {column!r} of {path} has empty fields; fill them")
        arrays.append(values.to_numpy().astype(np.float32))
    return np.stack(arrays, axis=1)
