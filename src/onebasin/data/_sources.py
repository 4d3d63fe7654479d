"""Sources of data before decoding: rows of tables, with columns of inputs and labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onebasin._packages import import_package
from onebasin._text import some_names
from onebasin.errors import OneBasinError

Kind = Literal["image", "text", "class", "integer", "other"]
Column = Literal["input", "label"]

INPUT_NAMES = ("image", "img", "text", "sentence", "content")
SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "validation", "valid", "val"),
}
"""Names of files, folders, arrays and keys of each split, in order of preference."""
LABEL_NAMES = ("label", "labels", "fine_label", "class", "target")


@dataclass(frozen=True)
class Table:
    """The rows of one split.

    Args:
        source: name of the source of the rows, for messages.
        num_rows: number of rows.
        kinds: kind of the values of each column.
        class_names: names of the classes of some columns.
        read: function of column names that yields the source of the next rows, and lists of a
            few thousand Python values by column.
    """

    source: str
    num_rows: int
    kinds: Mapping[str, Kind]
    class_names: Mapping[str, tuple[str, ...]]
    read: Callable[[Sequence[str]], Iterator[tuple[str, Mapping[str, list[Any]]]]]


@dataclass(frozen=True)
class Columns:
    """The columns of the inputs and labels.

    Args:
        inputs: name of the column with the inputs.
        labels: name of the column with the labels; None for unlabeled data.
        is_text: whether the inputs are texts; otherwise they are images.
    """

    inputs: str
    labels: str | None
    is_text: bool

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [self.inputs] if self.labels is None else [self.inputs, self.labels]


def find_columns(
    table: Table, *, inputs: str | None, labels: str | None, needs_labels: bool = True
) -> Columns:
    """Return the columns of inputs and labels.

    Args:
        table: a split.
        inputs: name of the column with the inputs, or None.
        labels: name of the column with the labels, or None.
        needs_labels: whether a table without a label column raises an error.

    Raises:
        OneBasinError: the column is missing, or the choice is ambiguous.
    """
    images = _candidates(table, ("image",), INPUT_NAMES)
    candidates = images or _candidates(table, ("text",), INPUT_NAMES)
    input_column = _select_column(table, "input", inputs, candidates)
    if table.kinds[input_column] not in ("image", "text"):
        raise OneBasinError(
            f"data: column {input_column!r} of {table.source} has neither images nor texts; "
            "give another input_column"
        )
    classes = _candidates(table, ("class",), LABEL_NAMES) or _candidates(
        table, ("integer",), LABEL_NAMES
    )
    candidates = [name for name in classes if name != input_column]
    if labels is None and not candidates and not needs_labels:
        return Columns(input_column, None, table.kinds[input_column] == "text")
    label_column = _select_column(table, "label", labels, candidates)
    if table.kinds[label_column] not in ("class", "integer"):
        raise OneBasinError(
            f"data: column {label_column!r} of {table.source} has no classes (integers from 0); "
            "pass another column as label_column="
        )
    return Columns(input_column, label_column, table.kinds[input_column] == "text")


def _candidates(table: Table, kinds: Sequence[Kind], preferred: Sequence[str]) -> list[str]:
    """Return the columns of some kinds; only the first with a preferred name if there is one."""
    names = [name for name, kind in table.kinds.items() if kind in kinds]
    return next(([name] for name in preferred if name in names), names)


def _select_column(table: Table, what: Column, name: str | None, candidates: Sequence[str]) -> str:
    columns = some_names(table.kinds, limit=8)
    if name is not None:
        if name not in table.kinds:
            raise OneBasinError(
                f"data: {table.source} has no column {name!r}; name one of its columns: {columns}"
            )
        return name
    if len(candidates) == 1:
        return candidates[0]
    expected = "encoded images or texts" if what == "input" else "classes (integers from 0)"
    problem = f"{'several columns' if candidates else 'no column'} with {expected}"
    remedy = f"name the right one as {what}_column"
    if not candidates:
        remedy = f"write the {what}s as {expected}, or choose another set"
    raise OneBasinError(f"data: {table.source} has {problem}; its columns are {columns}; {remedy}")


ROWS = 2048
"""Number of rows that are read at a time."""


def arrow() -> Any:
    """Return the module pyarrow.

    Raises:
        OneBasinError: pyarrow is not installed.
    """
    return import_package("pyarrow", extra="data")


def features_of(schema: Any) -> Mapping[str, Any]:
    """Return the metadata of columns in a file of the hub; often empty."""
    stored = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(stored)["info"]["features"] if stored else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def kinds_of(schema: Any, features: Mapping[str, Any]) -> dict[str, Kind]:
    """Return the kind of each column.

    Args:
        schema: pyarrow schema of the table.
        features: metadata of the columns from the hub.
    """
    return {field.name: _kind(field.type, features.get(field.name)) for field in schema}


def class_names_of(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the names of the classes of some columns."""
    kinds = {}
    for column, feature in features.items():
        names = feature.get("names") if isinstance(feature, dict) else None
        if isinstance(names, list) and names:
            kinds[column] = tuple(map(str, names))
    return kinds


def _kind(dtype: Any, feature: Any) -> Kind:
    types = arrow().types
    described = feature.get("_type") if isinstance(feature, dict) else None
    if described == "Image" or types.is_binary(dtype) or types.is_large_binary(dtype):
        return "image"
    if types.is_struct(dtype):
        names = {dtype.field(i).name for i in range(dtype.num_fields)}
        return "image" if "bytes" in names else "other"
    if types.is_string(dtype) or types.is_large_string(dtype):
        return "text"
    if types.is_integer(dtype) or types.is_boolean(dtype):
        return "class" if described == "ClassLabel" else "integer"
    return "other"
