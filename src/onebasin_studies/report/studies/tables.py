"""Tables of studies: as texts for a page, and as numbers for a file."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from onebasin_studies.runtime.statistics import MOST_DIGITS, Summary
from onebasin_studies.runtime.study import Table

HALF = "± of {}"
"""What a file calls the column of half intervals."""


def table_texts(body: Table) -> list[list[str]]:
    """Return the cells of a table as they are read.

    A mean whose values are all equal has no interval to take its digits from; it has as many as
    the others in its column.
    """
    columns = [_texts(column) for column in zip(*body.rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _texts(cells: Sequence[Any]) -> list[str]:
    found = (cell.digits for cell in cells if isinstance(cell, Summary))
    digits = max((each for each in found if each <= MOST_DIGITS), default=0)
    return [
        cell.to_text(f".{digits}f") if digits and _is_sure(cell) else str(cell) for cell in cells
    ]


def _is_sure(cell: Any) -> bool:
    return isinstance(cell, Summary) and cell.form is None and cell.reach == 0


def table_numbers(body: Table) -> list[list[Any]]:
    """Return header and rows of a table for other programs to read.

    A mean and half of its interval stand in columns of their own, with all their digits.
    """
    columns = [
        made
        for name, cells in zip(body.header, _columns(body), strict=True)
        for made in _numbers(name, cells)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _columns(body: Table) -> list[tuple[Any, ...]]:
    return list(zip(*body.rows, strict=True)) or [()] * len(body.header)


def _numbers(name: str, cells: Sequence[Any]) -> list[list[Any]]:
    """Return a column with its name, or two for means."""
    if not any(isinstance(cell, Summary) for cell in cells):
        return [[name, *cells]]
    means = [cell.mean if isinstance(cell, Summary) else cell for cell in cells]
    halves = [cell.reach if isinstance(cell, Summary) else None for cell in cells]
    known = [half if half is not None and isfinite(half) else None for half in halves]
    return [[name, *means], [HALF.format(name), *known]]
