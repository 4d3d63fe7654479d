"""Several annealing runs from one start, and their temperatures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64

from onebasin._random import derive_seed
from onebasin.matching._annealing.factory import MakeState
from onebasin.matching._annealing.state import (
    AnnealingState,
    Column,
    Move,
    NetworkIndices,
    draw_steps,
)

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


SEGMENTS = 50
"""Number of progress reports of a run."""

Report = Callable[[int, int, float], object]


class AnnealingRuns:
    """Annealing runs, each with its own random steps.

    Args:
        make: factory of the states.
        indices: the initial indices of all runs.
        columns: columns of the swaps.
        restarts: number of runs.
        seed: random seed of all steps.
    """

    def __init__(
        self,
        make: MakeState,
        indices: NetworkIndices,
        columns: tuple[Column, ...],
        *,
        restarts: int = 1,
        seed: int = 0,
    ) -> None:
        """Create all states; only one if no unit can be swapped."""
        self.columns, self.seed = columns, seed
        self.states = [make(indices) for _ in range(restarts if columns else 1)]
        self.best: list[list[float]] = [[] for _ in self.states]

    def anneal(self, steps: int, schedule: Schedule, move: Move, report: Report) -> None:
        """Run all states; `best` gets the best energy of each segment.

        Args:
            steps: number of steps of each run.
            schedule: schedule of the temperatures.
            move: whether a step swaps a pair in every column or in one.
            report: called after each segment of each run with its number, the number of steps, and
                its best energy.
        """
        if not self.columns:
            return
        published = schedule == "published"
        rng = self._rng("calibration")
        cooling = PUBLISHED if published else calibrate(self.states[0], self.columns, rng, move)
        parts = np.array_split(cooling.temperatures(steps), min(SEGMENTS, steps))
        rngs = [self._rng(f"start {number}") for number in range(len(self.states))]
        done = 0
        with self._parallel_map() as each:
            for temperatures in parts:
                drawn = [draw_steps(self.columns, temperatures, rng, move) for rng in rngs]
                list(each(lambda state, steps: state.run(steps), self.states, drawn))
                done += len(temperatures)
                for number, state in enumerate(self.states):
                    self.best[number].append(state.best_energy)
                    report(number, done, state.best_energy)

    @contextmanager
    def _parallel_map(self) -> Iterator[Callable[..., Iterable[None]]]:
        """Yield a `map` over states; states that are not compiled already use torch's threads."""
        num_threads = min(len(self.states), torch.get_num_threads())
        if num_threads == 1 or not self.states[0].is_compiled:
            yield map
            return
        with ThreadPoolExecutor(num_threads) as pool:
            yield pool.map

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, name))
