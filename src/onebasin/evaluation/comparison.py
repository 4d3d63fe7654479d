"""Curves of a pair before and after alignment, as tables and lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from onebasin.evaluation.curves import BarrierBaseline, Curve
from onebasin.evaluation.figures import Line

# By "naive" or "aligned", then by "train" or "test".
Curves: TypeAlias = Mapping[str, Mapping[str, Curve]]
Barriers: TypeAlias = dict[str, dict[str, dict[str, float]]]


def barriers_of(curves: Curves, baseline: BarrierBaseline = "linear") -> Barriers:
    """Return the barriers by "naive" or "aligned", "train" or "test", "loss" or "error".

    Args:
        curves: the measured curves.
        baseline: as for `Curve.barrier`.
    """
    return {
        state: {
            split: {
                "loss": curve.barrier("loss", baseline),
                "error": curve.barrier("error", baseline),
            }
            for split, curve in splits.items()
        }
        for state, splits in curves.items()
    }


def lines_of(curves: Curves) -> list[Line]:
    """Return the lines of a figure with all curves."""
    return [
        Line(curve, f"{state}, {split}", state == "aligned", split == "test")
        for state, splits in curves.items()
        for split, curve in splits.items()
    ]


def barrier_rows(barriers: Barriers) -> list[tuple[str, ...]]:
    """Return the rows of a table of barriers: the header, then one for each measure.

    Args:
        barriers: from `barriers_of`.
    """
    rows = [
        (f"{quantity}, {split}", *(_shown(b[split][quantity], quantity) for b in barriers.values()))
        for quantity in ("loss", "error")
        for split in next(iter(barriers.values()))
    ]
    return [("barrier", *barriers), *rows]


def _shown(value: float, quantity: str) -> str:
    return f"{value:.4f}" if quantity == "loss" else f"{value:.2%}"
