"""Linear systems of the exponents of scales, over the rational numbers or modulo two."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from typing import TypeAlias

Row: TypeAlias = dict[int, Fraction]


def null_space(rows: Sequence[dict[int, int]], number: int, *, modulo: int = 0) -> list[list[int]]:
    """Return a basis of the solutions of homogeneous equations.

    Each solution sets one free unknown to one and the other free unknowns to zero. Unknowns with
    large numbers are free if possible.

    Args:
        rows: the coefficients of each equation, by the number of the unknown.
        number: number of unknowns.
        modulo: 2 for equations modulo two; 0 for rational numbers.

    Returns:
        Integer solutions, one for each free unknown, in the order of the unknowns.
    """
    pivots: dict[int, Row] = {}
    for given in rows:
        row = _reduced({k: Fraction(v) for k, v in given.items()}, pivots, modulo)
        if not row:
            continue
        pivot = min(row)
        row = _scaled(row, 1 / row[pivot], modulo)
        for other, known in pivots.items():
            if pivot in known:
                pivots[other] = _sum(known, row, -known[pivot], modulo)
        pivots[pivot] = row
    free = [unknown for unknown in range(number) if unknown not in pivots]
    return [_solution(one, pivots, number, modulo) for one in free]


def _reduced(row: Row, pivots: dict[int, Row], modulo: int) -> Row:
    row = _scaled(row, Fraction(1), modulo)
    for pivot, known in pivots.items():
        if pivot in row:
            row = _sum(row, known, -row[pivot], modulo)
    return row


def _scaled(row: Row, factor: Fraction, modulo: int) -> Row:
    return _sum({}, row, factor, modulo)


def _sum(a: Row, b: Row, factor: Fraction, modulo: int) -> Row:
    total = dict(a)
    for unknown, value in b.items():
        found = total.get(unknown, Fraction(0)) + factor * value
        total[unknown] = found % modulo if modulo else found
    return {unknown: value for unknown, value in total.items() if value}


def _solution(one: int, pivots: dict[int, Row], number: int, modulo: int) -> list[int]:
    values = [Fraction(0)] * number
    values[one] = Fraction(1)
    for pivot, row in pivots.items():
        values[pivot] = -row.get(one, Fraction(0))
    if modulo:
        return [int(value % modulo) for value in values]
    common = lcm(*(value.denominator for value in values))
    return [int(value * common) for value in values]
