"""Rows as parquet: conversion of mappings of plain values to bytes and back."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onebasin.errors import OneBasinError


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as a parquet file; missing keys become None.

    Raises:
        OneBasinError: if a column mixes types that parquet cannot store, or pyarrow is missing.
    """
    arrow, parquet = _pyarrow()
    columns = {name: [row.get(name) for row in rows] for name in columns_of(rows)}
    arrays = []
    for name, values in columns.items():
        try:
            arrays.append(arrow.array(values))
        except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
            raise OneBasinError(
                f"rows: column {name!r} cannot be stored ({_first_line(error)}); give all its "
                "values one type: number, text or boolean"
            ) from error
    target = io.BytesIO()
    parquet.write_table(arrow.table(arrays, names=list(columns)), target)
    return target.getvalue()


def decode_rows(data: bytes) -> list[dict[str, Any]]:
    """Return the rows of a parquet file.

    Raises:
        OneBasinError: if the bytes are not a parquet file, or pyarrow is missing.
    """
    arrow, parquet = _pyarrow()
    try:
        return parquet.read_table(io.BytesIO(data)).to_pylist()
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise OneBasinError(f"no parquet file ({_first_line(error)})") from error


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys of all rows in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        # Imported only now: this module takes seconds to load, because it imports torch.
        from onebasin._packages import install_command

        raise OneBasinError(
            "studies store their rows as parquet files, which requires pyarrow; install the extra "
            f"'studies': {install_command('studies')}"
        ) from error
    return pyarrow, parquet


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
