"""Temperatures of annealing, as published or calibrated on energies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from onebasin.matching._annealing.state import AnnealingState
from onebasin.matching._annealing.swaps import Column, Move, draw_steps

Schedule = Literal["calibrated", "published"]

SAMPLES = 32
"""Number of steps from which the scale of the energy changes is estimated."""

HIGHEST, LOWEST = 0.1, 0.002
"""Temperatures at the ends of a calibrated schedule, in mean increasing steps.

Chosen on pairs of MNIST networks of widths 64 and 1024, for 10,000 to 50,000 steps.
"""


@dataclass(frozen=True)
class TemperatureSchedule:
    """Temperatures that decrease by a constant factor.

    Args:
        highest: temperature before the first step.
        lowest: temperature at the last step.
    """

    highest: float
    lowest: float

    def temperatures(self, steps: int) -> Float64[np.ndarray, " {steps}"]:
        """Return `highest * (lowest / highest) ** (k / steps)` for k from 1 to steps."""
        return self.highest * (self.lowest / self.highest) ** (np.arange(1, steps + 1) / steps)


PUBLISHED = TemperatureSchedule(highest=1e4, lowest=1e-5)
"""The settings of the authors' runs; half of the steps are a random walk."""


def calibrate(
    state: AnnealingState, columns: tuple[Column, ...], rng: np.random.Generator, move: Move
) -> TemperatureSchedule:
    """Return a schedule relative to the mean increase of the energy.

    Args:
        state: the state, which does not change.
        columns: columns of the swaps.
        rng: random generator of the sampled steps.
        move: swaps of a step.
    """
    steps = draw_steps(columns, np.ones(SAMPLES), rng, move)
    changes = np.array([state.propose(steps.at(k)) for k in range(SAMPLES)]) - state.energy
    increasing = changes[changes > 0]
    # If no step increases the energy, any low temperature works.
    scale = float(increasing.mean()) if len(increasing) else 1e-6
    return TemperatureSchedule(HIGHEST * scale, LOWEST * scale)
