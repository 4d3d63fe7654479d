"""Lines: barriers of curves in rows, pairs compared with themselves; settings in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onebasin_studies.runtime.statistics import grouped
from onebasin_studies.runtime.study import Row


def barriers_of(rows: Sequence[Row], *columns: str) -> list[dict[str, Any]]:
    r"""Return a row with the barriers of each curve that rows hold the points of.

    \(\max_\alpha L(\alpha) - \alpha L(1) - (1-\alpha) L(0)\) over the points there are, ends
    included (Entezari et al., Eq. 1).

    Args:
        rows: with alpha, loss and error.
        *columns: that tell curves apart.
    """
    found = []
    for key, points in grouped(rows, *columns).items():
        head = dict(zip(columns, key, strict=True))
        excess = {
            f"{q}barrier": _excess(points, of) for q, of in (("", "loss"), ("error_", "error"))
        }
        found.append({**head, **excess})
    return found


def _excess(points: Sequence[Row], quantity: str) -> float:
    values = {point["alpha"]: point[quantity] for point in points}
    baseline = {alpha: alpha * values[1.0] + (1 - alpha) * values[0.0] for alpha in values}
    return max(values[alpha] - baseline[alpha] for alpha in values)


def by_setting(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return rows by setting, those that are judged first.

    Args:
        rows: with the columns `setting` and `judged`.
    """
    found = grouped(rows, "judged", "setting").items()
    return {name: part for (_, name), part in sorted(found, key=lambda item: not item[0][0])}


def paired(first: Sequence[Row], second: Sequence[Row], value: str) -> list[float]:
    """Return for each pair that is in both how much more its value is in the first.

    Args:
        first: rows, one for each pair, named in the column `pair`.
        second: likewise.
        value: the column of the numbers.
    """
    others = {row["pair"]: row[value] for row in second}
    return [row[value] - others[row["pair"]] for row in first if row["pair"] in others]
