"""Barriers of curves in rows, paired differences, and the order of settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onebasin_studies.runtime.statistics import grouped
from onebasin_studies.runtime.study import Row


def barriers_of(rows: Sequence[Row], *columns: str) -> list[dict[str, Any]]:
    r"""Return one row of barriers per curve.

    \(\max_\alpha L(\alpha) - \alpha L(1) - (1-\alpha) L(0)\) over the points of the curve,
    endpoints included (Entezari et al., Eq. 1).

    Args:
        rows: rows with alpha, loss and error.
        *columns: columns that identify a curve.
    """
    result = []
    for key, points in grouped(rows, *columns).items():
        head = dict(zip(columns, key, strict=True))
        excess = {
            f"{q}barrier": _excess(points, of) for q, of in (("", "loss"), ("error_", "error"))
        }
        result.append({**head, **excess})
    return result


def _excess(points: Sequence[Row], quantity: str) -> float:
    values = {point["alpha"]: point[quantity] for point in points}
    baseline = {alpha: alpha * values[1.0] + (1 - alpha) * values[0.0] for alpha in values}
    return max(values[alpha] - baseline[alpha] for alpha in values)


def by_setting(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return rows by setting, evaluated settings first.

    Args:
        rows: rows with the columns `setting` and `evaluable`.
    """
    settings = grouped(rows, "evaluable", "setting").items()
    return {name: part for (_, name), part in sorted(settings, key=lambda item: not item[0][0])}


def paired(first: Sequence[Row], second: Sequence[Row], value: str) -> list[float]:
    """Return the difference of the values of each pair that appears in both.

    Args:
        first: rows, one per pair, with the column `pair`.
        second: rows to subtract.
        value: name of the value column.
    """
    others = {row["pair"]: row[value] for row in second}
    return [row[value] - others[row["pair"]] for row in first if row["pair"] in others]
