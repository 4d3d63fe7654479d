"""Several annealing runs from one start, in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from onebasin._random import derive_seed
from onebasin.matching._annealing.factory import MakeState
from onebasin.matching._annealing.schedule import PUBLISHED, Schedule, calibrate
from onebasin.matching._annealing.state import NetworkIndices
from onebasin.matching._annealing.swaps import Column, Move, draw_steps

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
