"""Matching: the result of every matcher, and what a matcher says while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from onebasin.symmetry import Permutation


@dataclass(frozen=True)
class Matching:
    """The result of a search for a permutation.

    Args:
        permutation: moves B to A: `permutation.apply(params_b)`.
        objective: the objective before the first step and after every accepted step, summed
            in float64; it never decreases.
        converged: whether the search ended because no step improved the objective.
        num_sweeps: passes over all groups.
        num_solves: assignment problems solved.
        seconds: wall-clock time of the search.
        restarts: the final objective of every start, the returned one among them.
    """

    permutation: Permutation
    objective: tuple[float, ...]
    converged: bool
    num_sweeps: int
    num_solves: int
    seconds: float
    restarts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Step:
    """What a matcher tells `progress` after every group it has looked at.

    Args:
        start: number of the start, from 0.
        sweep: number of the sweep, from 0.
        group: name of the group.
        done: groups looked at in this sweep.
        total: groups in a sweep.
        objective: the objective now.
    """

    start: int
    sweep: int
    group: str
    done: int
    total: int
    objective: float


Progress: TypeAlias = Callable[[Step], None]
