"""Cooling: the temperatures of annealing, as published or from the energies that it meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from onebasin.matching._annealing.swaps import Column, Move, draw_steps
from onebasin.matching._annealing.walk import Walk

Schedule = Literal["calibrated", "published"]

SAMPLES = 32
"""Steps whose changes of the energy tell its spread."""

HIGHEST, LOWEST = 0.1, 0.002
"""Temperatures at the ends of a calibrated schedule, in average steps uphill from the start.

Found on pairs of MNIST networks of widths 64 and 1024, for 10,000 to 50,000 steps.
"""


@dataclass(frozen=True)
class Cooling:
    """Temperatures that fall by the same factor every step.

    Args:
        highest: before the first step.
        lowest: at the last step.
    """

    highest: float
    lowest: float

    def temperatures(self, steps: int) -> Float64[np.ndarray, " {steps}"]:
        """Return `highest * (lowest / highest) ** (k / steps)` for k from 1 to steps."""
        return self.highest * (self.lowest / self.highest) ** (np.arange(1, steps + 1) / steps)


PUBLISHED = Cooling(highest=1e4, lowest=1e-5)
"""The settings of the authors' runs: half of the steps are a random walk."""


def calibrate(
    walk: Walk, columns: tuple[Column, ...], rng: np.random.Generator, move: Move
) -> Cooling:
    """Return a cooling whose temperatures are shares of an average step uphill.

    Args:
        walk: where it stands the changes of the energy are looked at; it stays there.
        columns: where units are swapped.
        rng: of the steps that are looked at.
        move: which swaps make a step.
    """
    steps = draw_steps(columns, np.ones(SAMPLES), rng, move)
    changes = np.array([walk.propose(steps.at(k)) for k in range(SAMPLES)]) - walk.energy
    uphill = changes[changes > 0]
    # A landscape without a step uphill is flat or a slope: any small temperature does.
    scale = float(uphill.mean()) if len(uphill) else 1e-6
    return Cooling(HIGHEST * scale, LOWEST * scale)
