"""Frank–Wolfe over the relaxed permutations of all networks at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from torch import Tensor

from onebasin._random import derive_seed
from onebasin.matching._checks import check_counts, check_seed
from onebasin.matching._coordinate_descent.network_set import NetworkSet
from onebasin.matching._relaxation.objective import InnerProductObjective, Points, polynomial_peak
from onebasin.matching._relaxation.relaxation import Relaxation, best_assignment, lerp, one_hot
from onebasin.matching.result import Progress, Step
from onebasin.symmetry.permutation import Permutation

SMOOTHING = 1e-3
"""Weight of the barycenter in the points at which gradients are computed.

Without it, the gradient of a nested group is 0 for an outer pair of weight 0.
"""


TOLERANCE = 1e-6
"""Minimum relative gain of a step, below which the search has converged."""


class FrankWolfe:
    """One start of Frank–Wolfe.

    Args:
        objective: the objective.
        start: the initial point, for every network except the first.
        unmoved: objective of the initial permutations.
    """

    def __init__(self, objective: InnerProductObjective, start: Points, unmoved: float) -> None:
        """Initialize the run; no step is taken."""
        self.objective = objective
        self.relaxation = objective.relaxation
        self.points = list(start)
        self.uniform = self.relaxation.uniform(objective.network_set.dtype)
        groups = self.relaxation.symmetry.groups
        self.nested = any(outer in groups for group in groups.values() for outer in group.nested_in)
        self.values: list[float] = []
        self.best = objective.network_set.permutations[1:]
        self.trace = [unmoved]
        self.converged = False
        self.num_steps = self.num_solves = 0

    @property
    def best_value(self) -> float:
        """The objective of the best permutations."""
        return self.trace[-1]

    def run(self, max_steps: int) -> Iterator[float]:
        """Step until convergence, then round; yield the relaxed objective after every step."""
        while self.num_steps < max_steps and not self.converged:
            self.converged = not self.step()
            yield self.values[-1]
        self._round()

    def step(self) -> bool:
        """Step towards the permutations of the gradient; return whether the objective improved."""
        self.num_steps += 1
        value, gradients = self.objective.gradients(self._smoothed())
        if self.nested:
            value = self.objective.along(self.points, self.points, [0.0])[0]
        if not self.values:
            self.values.append(value)
        assignments = [
            {g: best_assignment(matrix) for g, matrix in gradient.items()} for gradient in gradients
        ]
        self.num_solves += sum(map(len, assignments))
        ends = [self._matrices(assignment) for assignment in assignments]
        degree = self.objective.degree
        places = [place / degree for place in range(1, degree + 1)]
        heights = self.objective.along(self.points, ends, places)
        self._remember(assignments, heights[-1])
        fraction, peak = polynomial_peak({0.0: value, **dict(zip(places, heights, strict=True))})
        if peak - value <= TOLERANCE * abs(value):
            return False
        pairs = zip(self.points, ends, strict=True)
        self.points = [lerp(start, end, fraction) for start, end in pairs]
        self.values.append(peak)
        return True

    def _round(self) -> None:
        """Evaluate the permutations nearest to the current point."""
        assignments = [
            {g: best_assignment(matrix) for g, matrix in point.items()} for point in self.points
        ]
        self.num_solves += sum(map(len, assignments))
        ends = [self._matrices(assignment) for assignment in assignments]
        self._remember(assignments, self.objective.along(ends, ends, [1.0])[0])

    def _smoothed(self) -> Points:
        if not self.nested:
            return self.points
        return [lerp(point, self.uniform, SMOOTHING) for point in self.points]

    def _matrices(self, assignments: dict[str, Tensor]) -> dict[str, Tensor]:
        dtype = self.objective.network_set.dtype
        return {group: one_hot(assignment, dtype) for group, assignment in assignments.items()}

    def _remember(self, assignments: list[dict[str, Tensor]], value: float) -> None:
        if value > self.best_value:
            self.best = [self.relaxation.chosen(assignment) for assignment in assignments]
        self.trace.append(max(value, self.best_value))


@dataclass(frozen=True)
class Runs:
    """The runs of one search, from all starts.

    Args:
        runs: one run for each start.
    """

    runs: Sequence[FrankWolfe]

    @property
    def best(self) -> FrankWolfe:
        """The run with the best permutations."""
        return max(self.runs, key=lambda run: run.best_value)

    def result_fields(
        self, values: Sequence[float], num_solves: int, began: float
    ) -> dict[str, Any]:
        """Return the fields of a matching other than its permutations.

        Args:
            values: objective values of the best run and of its refinement.
            num_solves: number of assignments of the refinement.
            began: start time of the matcher, from `time.perf_counter`.
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


def multi_start(
    network_set: NetworkSet,
    *,
    from_init: bool,
    seed: int,
    max_steps: int,
    restarts: int,
    progress: Progress | None,
) -> Runs:
    """Run Frank–Wolfe from several starts.

    Args:
        network_set: the networks.
        from_init: whether the first start is their current permutations, not the barycenter.
        seed: random seed for further starts, halfway between the barycenter and random
            permutations.
        max_steps: maximum number of steps of each start.
        restarts: number of starts.
        progress: callback with a `Step` after every step.

    Raises:
        OneBasinError: a count is below one.
    """
    check_counts(max_steps=max_steps, restarts=restarts)
    check_seed(seed)
    relaxation = Relaxation(network_set.symmetry)
    objective, unmoved = InnerProductObjective(network_set, relaxation), network_set.objective()
    runs = []
    for number in range(restarts):
        start = _start(network_set, relaxation, from_init, seed, number)
        run = FrankWolfe(objective, start, unmoved)
        for value in run.run(max_steps):
            if progress is not None:
                progress(Step(number, run.num_steps, "", run.num_steps, max_steps, value))
        runs.append(run)
    return Runs(runs)


def _start(
    network_set: NetworkSet, relaxation: Relaxation, from_init: bool, seed: int, number: int
) -> Points:
    dtype, uniform = network_set.dtype, relaxation.uniform(network_set.dtype)
    moving: Sequence[Permutation] = network_set.permutations[1:]
    if number == 0:
        return [relaxation.vertex(p, dtype) if from_init else uniform for p in moving]
    names = [f"start {number} of network {place + 1}" for place in range(len(moving))]
    drawn = [
        Permutation.random(relaxation.symmetry, seed=derive_seed(seed, name)) for name in names
    ]
    return [lerp(uniform, relaxation.vertex(p, dtype), 0.5) for p in drawn]
