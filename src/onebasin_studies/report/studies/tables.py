"""Tables of studies: as text for a page and as numbers for a file."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from onebasin_studies.runtime.statistics import MOST_DIGITS, Summary
from onebasin_studies.runtime.study import Table

if TYPE_CHECKING:
    from pandas import DataFrame

HALF = "± of {}"
"""Column title of half intervals in a file."""


def table_texts(body: Table) -> list[list[str]]:
    """Return the cells of a table as text.

    A mean of equal values has an empty interval; it is written with the decimals of the other means
    in its column.
    """
    columns = [_texts(column) for column in zip(*body.rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _texts(cells: Sequence[Any]) -> list[str]:
    numbers = (cell.digits for cell in cells if isinstance(cell, Summary))
    digits = max((each for each in numbers if each <= MOST_DIGITS), default=0)
    return [
        cell.to_text(f".{digits}f") if digits and _is_sure(cell) else str(cell) for cell in cells
    ]


def _is_sure(cell: Any) -> bool:
    return isinstance(cell, Summary) and cell.form is None and cell.reach == 0


def table_numbers(body: Table) -> DataFrame:
    """Return the numbers of a table, in full precision.

    A mean and half of its interval are in separate columns.
    """
    from pandas import DataFrame

    cells = zip(*body.rows, strict=True) if body.rows else [()] * len(body.header)
    columns: dict[str, Sequence[Any]] = {}
    for name, values in zip(body.header, cells, strict=True):
        columns |= _numbers(str(name), values)
    return DataFrame(columns, dtype=object)


def _numbers(name: str, cells: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Return a column by its title, or two columns for means."""
    if not any(isinstance(cell, Summary) for cell in cells):
        return {name: cells}
    means = [cell.mean if isinstance(cell, Summary) else cell for cell in cells]
    halves = [cell.reach if isinstance(cell, Summary) else None for cell in cells]
    known = [half if half is not None and isfinite(half) else None for half in halves]
    return {name: means, HALF.format(name): known}
