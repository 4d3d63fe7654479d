"""Contour levels of a plane and their labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

from onebasin.evaluation.curves import Quantity

NUM_LEVELS = 12


def contour_levels(
    values: Float64[np.ndarray, "y x"], quantity: Quantity
) -> Float64[np.ndarray, " levels"]:
    """Return increasing levels from the minimum to the 90% quantile."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(np.quantile(finite, 0.9))
    span = high - low if high > low else max(abs(low), 1.0)
    steps = (
        np.concatenate([[0.0], np.geomspace(1e-3, 1.0, NUM_LEVELS - 1)])
        if quantity == "loss"
        else np.linspace(0, 1, NUM_LEVELS)
    )
    return low + span * steps


def color_norm(levels: Float64[np.ndarray, " levels"]) -> Any:
    """Return the matplotlib norm with one color between two levels."""
    from matplotlib.colors import BoundaryNorm

    return BoundaryNorm(levels, 256, extend="max")


def level_labels(levels: Float64[np.ndarray, " levels"], quantity: Quantity) -> list[str]:
    """Return labels with the fewest digits that keep the levels distinct."""
    forms = [f".{digits}g" if quantity == "loss" else f".{digits - 2}%" for digits in range(3, 9)]
    shown = ([f"{level:{form}}" for level in levels] for form in forms)
    return next((texts for texts in shown if len({*texts}) == len(texts)), list(map(str, levels)))
