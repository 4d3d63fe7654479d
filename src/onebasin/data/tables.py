"""Tables of Arrow: what their columns hold, and their rows as Python values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from onebasin.checkpoints.packages import import_package
from onebasin.data.source import Kind

ROWS = 2048
"""How many rows are read at a time."""


def arrow() -> Any:
    """Return the module pyarrow.

    Raises:
        OneBasinError: when it is not installed.
    """
    return import_package("pyarrow", extra="data")


def features_of(schema: Any) -> Mapping[str, Any]:
    """Return what the metadata of a file of the hub says about its columns; often nothing."""
    stored = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(stored)["info"]["features"] if stored else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def kinds_of(schema: Any, features: Mapping[str, Any]) -> dict[str, Kind]:
    """Return what each column holds.

    Args:
        schema: of the table, from pyarrow.
        features: what the hub says about its columns.
    """
    return {field.name: _kind(field.type, features.get(field.name)) for field in schema}


def class_names_of(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the names of classes by the columns that have them."""
    found = {}
    for column, feature in features.items():
        names = feature.get("names") if isinstance(feature, dict) else None
        if isinstance(names, list) and names:
            found[column] = tuple(map(str, names))
    return found


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
