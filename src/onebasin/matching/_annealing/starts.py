"""Starts: several walks from one place, cooled side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from onebasin._random import derive_seed
from onebasin.matching._annealing.cooling import PUBLISHED, Schedule, calibrate
from onebasin.matching._annealing.making import Make
from onebasin.matching._annealing.swaps import Column, Move, draw_steps
from onebasin.matching._annealing.walk import Orders

SEGMENTS = 50
"""Parts of a walk after which progress is told."""

Tell = Callable[[int, int, float], object]


class Starts:
    """Walks with random steps of their own.

    Args:
        make: begins a walk.
        orders: where all begin.
        columns: where units are swapped.
        restarts: how many walks.
        seed: of all steps.
    """

    def __init__(
        self,
        make: Make,
        orders: Orders,
        columns: tuple[Column, ...],
        *,
        restarts: int = 1,
        seed: int = 0,
    ) -> None:
        """Begin all walks; where there is nothing to swap, one."""
        self.columns, self.seed = columns, seed
        self.walks = [make(orders) for _ in range(restarts if columns else 1)]
        self.best: list[list[float]] = [[] for _ in self.walks]

    def anneal(self, steps: int, schedule: Schedule, move: Move, tell: Tell) -> None:
        """Walk; afterwards `walks` are at their ends, and `best` has each segment's best energy.

        Args:
            steps: of each walk.
            schedule: of the temperatures.
            move: whether a step swaps a pair in every column or in one.
            tell: called after each segment of each walk with its number, the steps that it
                has made and its best energy.
        """
        if not self.columns:
            return
        published = schedule == "published"
        rng = self._rng("calibration")
        cooling = PUBLISHED if published else calibrate(self.walks[0], self.columns, rng, move)
        parts = np.array_split(cooling.temperatures(steps), min(SEGMENTS, steps))
        rngs = [self._rng(f"start {number}") for number in range(len(self.walks))]
        done = 0
        with self._side_by_side() as each:
            for temperatures in parts:
                drawn = [draw_steps(self.columns, temperatures, rng, move) for rng in rngs]
                list(each(lambda walk, steps: walk.run(steps), self.walks, drawn))
                done += len(temperatures)
                for number, walk in enumerate(self.walks):
                    self.best[number].append(walk.best_energy)
                    tell(number, done, walk.best_energy)

    @contextmanager
    def _side_by_side(self) -> Iterator[Callable[..., Iterable[None]]]:
        """Yield a `map` over walks; those that use torch share its threads already."""
        num_threads = min(len(self.walks), torch.get_num_threads())
        if num_threads == 1 or not self.walks[0].is_compiled:
            yield map
            return
        with ThreadPoolExecutor(num_threads) as pool:
            yield pool.map

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, name))
