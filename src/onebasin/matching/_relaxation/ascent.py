"""Ascent: Frank–Wolfe over the relaxed permutations of all networks at once.

Owns the steps and their line search, the starts, and remembers the best permutations met on
the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from torch import Tensor

from onebasin._random import derive_seed
from onebasin.matching._checks import check_counts, check_seed
from onebasin.matching._coordinate_descent.gathering import Gathering
from onebasin.matching._relaxation.agreement import Agreement, Points, polynomial_peak
from onebasin.matching._relaxation.relaxation import Relaxation, best_of, mixed, one_hot
from onebasin.matching.result import Progress, Step
from onebasin.symmetry.permutation import Permutation

BLUR = 1e-3
"""Share of the barycentre in the points at which gradients are taken.

Where an outer pair has no share at all, the order of what nests in it would have no gradient.
"""


TOLERANCE = 1e-6
"""The least gain of a step that is worth another, as a share of the objective."""


class Ascent:
    """One start of Frank–Wolfe.

    Args:
        agreement: what rises.
        start: where it begins, for every network but the first.
        unmoved: the objective of the permutations where the search begins.
    """

    def __init__(self, agreement: Agreement, start: Points, unmoved: float) -> None:
        """Take no step yet."""
        self.agreement = agreement
        self.relaxation = agreement.relaxation
        self.points = list(start)
        self.uniform = self.relaxation.uniform(agreement.gathering.dtype)
        groups = self.relaxation.symmetry.groups
        self.nested = any(outer in groups for group in groups.values() for outer in group.nested_in)
        self.values: list[float] = []
        self.best = agreement.gathering.permutations[1:]
        self.trace = [unmoved]
        self.converged = False
        self.num_steps = self.num_solves = 0

    @property
    def best_value(self) -> float:
        """The objective of the best permutations so far."""
        return self.trace[-1]

    def climb(self, max_steps: int) -> Iterator[float]:
        """Step until none gains, and round; yield the relaxed objective after every step."""
        while self.num_steps < max_steps and not self.converged:
            self.converged = not self.step()
            yield self.values[-1]
        self._round()

    def step(self) -> bool:
        """Go towards the permutations that the gradient points to; return whether it gained."""
        self.num_steps += 1
        value, gradients = self.agreement.gradients(self._blurred())
        if self.nested:
            value = self.agreement.along(self.points, self.points, [0.0])[0]
        if not self.values:
            self.values.append(value)
        orders = [{g: best_of(matrix) for g, matrix in each.items()} for each in gradients]
        self.num_solves += sum(map(len, orders))
        ends = [self._matrices(order) for order in orders]
        degree = self.agreement.degree
        places = [place / degree for place in range(1, degree + 1)]
        heights = self.agreement.along(self.points, ends, places)
        self._remember(orders, heights[-1])
        share, peak = polynomial_peak({0.0: value, **dict(zip(places, heights, strict=True))})
        if peak - value <= TOLERANCE * abs(value):
            return False
        pairs = zip(self.points, ends, strict=True)
        self.points = [mixed(start, end, share) for start, end in pairs]
        self.values.append(peak)
        return True

    def _round(self) -> None:
        """Remember the permutations nearest to where it is."""
        orders = [{g: best_of(matrix) for g, matrix in point.items()} for point in self.points]
        self.num_solves += sum(map(len, orders))
        ends = [self._matrices(order) for order in orders]
        self._remember(orders, self.agreement.along(ends, ends, [1.0])[0])

    def _blurred(self) -> Points:
        if not self.nested:
            return self.points
        return [mixed(point, self.uniform, BLUR) for point in self.points]

    def _matrices(self, orders: dict[str, Tensor]) -> dict[str, Tensor]:
        dtype = self.agreement.gathering.dtype
        return {group: one_hot(order, dtype) for group, order in orders.items()}

    def _remember(self, orders: list[dict[str, Tensor]], value: float) -> None:
        if value > self.best_value:
            self.best = [self.relaxation.chosen(order) for order in orders]
        self.trace.append(max(value, self.best_value))


@dataclass(frozen=True)
class Climbs:
    """The climbs of one search, from all of its starts.

    Args:
        runs: one for each start.
    """

    runs: Sequence[Ascent]

    @property
    def best(self) -> Ascent:
        """The one that found the best permutations."""
        return max(self.runs, key=lambda run: run.best_value)

    def ending(self, values: Sequence[float], num_solves: int, began: float) -> dict[str, Any]:
        """Return what a matching tells beside its permutations.

        Args:
            values: of the best climb, and of what climbed on from it.
            num_solves: what the latter took.
            began: when the matcher was called, by `time.perf_counter`.
        """
        best = self.best
        return {
            "objective": tuple(values),
            "converged": best.converged,
            "num_sweeps": best.num_steps,
            "num_solves": num_solves + sum(run.num_solves for run in self.runs),
            "seconds": perf_counter() - began,
            "restarts": tuple(values[-1] if run is best else run.best_value for run in self.runs),
        }


def climb_from_starts(
    gathering: Gathering,
    *,
    from_init: bool,
    seed: int,
    max_steps: int,
    restarts: int,
    call: str,
    progress: Progress | None,
) -> Climbs:
    """Run Frank–Wolfe from the barycentre, or from where the networks are, and from elsewhere.

    Args:
        gathering: the networks.
        from_init: whether the first start is where they are.
        seed: of further starts, halfway between the barycentre and random permutations.
        max_steps: for each start.
        restarts: number of starts.
        call: the public function that is running, for messages.
        progress: called with a `Step` after every step.

    Raises:
        OneBasinError: when a count is below one.
    """
    check_counts(call, max_steps=max_steps, restarts=restarts)
    check_seed(call, seed)
    relaxation = Relaxation(gathering.symmetry)
    agreement, unmoved = Agreement(gathering, relaxation), gathering.objective()
    runs = []
    for number in range(restarts):
        start = _start(gathering, relaxation, from_init, seed, number)
        run = Ascent(agreement, start, unmoved)
        for value in run.climb(max_steps):
            if progress is not None:
                progress(Step(number, run.num_steps, "", run.num_steps, max_steps, value))
        runs.append(run)
    return Climbs(runs)


def _start(
    gathering: Gathering, relaxation: Relaxation, from_init: bool, seed: int, number: int
) -> Points:
    dtype, uniform = gathering.dtype, relaxation.uniform(gathering.dtype)
    moving: Sequence[Permutation] = gathering.permutations[1:]
    if number == 0:
        return [relaxation.vertex(p, dtype) if from_init else uniform for p in moving]
    names = [f"start {number} of network {place + 1}" for place in range(len(moving))]
    drawn = [
        Permutation.random(relaxation.symmetry, seed=derive_seed(seed, name)) for name in names
    ]
    return [mixed(uniform, relaxation.vertex(p, dtype), 0.5) for p in drawn]
