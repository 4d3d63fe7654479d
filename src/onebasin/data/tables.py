"""Arrow tables: kinds of their columns, and their rows as Python values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onebasin._packages import import_package
from onebasin.data.source import Kind

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
        names = {dtype.field(place).name for place in range(dtype.num_fields)}
        return "image" if "bytes" in names else "other"
    if types.is_string(dtype) or types.is_large_string(dtype):
        return "text"
    if types.is_integer(dtype) or types.is_boolean(dtype):
        return "class" if described == "ClassLabel" else "integer"
    return "other"
