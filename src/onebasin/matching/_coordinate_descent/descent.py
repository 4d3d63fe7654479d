"""Descent: sweeps over all trees until none improves the objective.

Owns the order of a sweep, the pushes of the first ones, which trees still need solving, and
the trace of the objective.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from torch import Tensor

from onebasin.matching._coordinate_descent.search import Search, StepResult
from onebasin.matching.result import Progress, Step

PUSHES = (0.2, 0.1)
"""How firmly units are pushed from their present partners, in the first sweeps.

A pair once matched looks better than it is, since its neighbors have adapted to it: plain
descent stops too early. On two random ResNet50 the pushes gain more than the spread of plain
descent over seeds (30 390 against 30 270 to 30 320, from 26 592), in fewer sweeps.
"""


class Descent:
    """One start of a search, and what becomes of it.

    Args:
        search: the state that moves; its similarities are dropped first.
        seed: of the order of the trees.
        number: number of the start, from 0.
        total: sweeps at most.
        progress: called after every tree.
    """

    def __init__(
        self, search: Search, *, seed: int, number: int, total: int, progress: Progress | None
    ) -> None:
        search.forget()
        self.search, self.number, self.total, self.progress = search, number, total, progress
        self.rng = np.random.default_rng([seed, number])
        self.names = list(search.trees)
        self.dirty = set(self.names)
        self.pushes = list(PUSHES)
        self.values: list[float] = []
        self.indices: dict[str, Tensor] = {}
        self.converged, self.num_sweeps = False, 0

    @property
    def value(self) -> float:
        """The objective after the last sweep; evaluated anew at the end."""
        return self.values[-1]

    def descend(self) -> None:
        """Sweep until no tree improves, or there were as many sweeps as there may be."""
        while self.dirty and self.num_sweeps < self.total:
            push = self.pushes.pop(0) if self.pushes else 0.0
            indices, dirty = dict(self.search.indices), set(self.dirty)
            self.num_sweeps += 1
            gain, looked = self._sweep(push)
            if push and gain < 0:
                self.search.indices, self.dirty, gain = indices, dirty | looked, 0.0
                self.pushes = []
            self.values.append(self.value + gain)
        self.converged = not self.dirty
        self.indices = dict(self.search.indices)
        self.values[-1] = self.search.objective(self.indices)

    def _sweep(self, push: float) -> tuple[float, set[str]]:
        """Look at every tree that may improve; return what is gained, and these trees."""
        total, looked = 0.0, set()
        for done, root in enumerate(self._order()):
            if root in self.dirty:
                looked.add(root)
                step = self.search.step(root, push=push)
                total += step.gain
                self.note(root, step, settled=step.settled)
            self.tell(root, done + 1, self.value + (0.0 if push else total))
        return total, looked

    def note(self, root: str, step: StepResult, *, settled: bool) -> None:
        """Remember which trees may improve after a step."""
        if step.moved:
            self.dirty |= self.search.neighbors[root]
        if settled:
            self.dirty.discard(root)

    def _order(self) -> list[str]:
        """Return the trees, those with many neighbors first, equal ones in random order."""
        near, keys = self.search.neighbors, self.rng.random(len(self.names))
        keyed = zip(self.names, keys, strict=True)
        return [name for name, _ in sorted(keyed, key=lambda each: (-len(near[each[0]]), each[1]))]

    def trace(self) -> tuple[float, ...]:
        """Return the best objective known after the start and every sweep."""
        return tuple(min(value, self.value) for value in accumulate(self.values, max))

    def tell(self, group: str, done: int, value: float) -> None:
        """Report progress."""
        if self.progress is not None:
            self.progress(Step(self.number, self.num_sweeps, group, done, len(self.names), value))
