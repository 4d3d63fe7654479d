"""Matchings: what a search for a permutation returns, and what it tells while it runs.

Owns `Matching`, the result that all matchers have in common, and `Step`, which progress
callbacks get.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from onebasin.symmetry.permutation import Permutation


@dataclass(frozen=True)
class Matching:
    """The permutation that a search found, and how the search went.

    Args:
        permutation: moves B to A: `permutation.apply(params_b)`.
        objective: its value where the search began and after every sweep that kept what it
            found. It never decreases; first and last are evaluated in float64.
        converged: whether the search ended because no step improves the objective; False
            where it ran out of sweeps.
        num_sweeps: passes over all groups, on the start that is returned.
        num_solves: assignment problems of whole groups solved, over all starts.
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
        sweep: number of the sweep, from 1; 0 while the start is made.
        group: name of the group; what nests in it was matched with it.
        done: groups looked at in this sweep.
        total: groups in a sweep.
        objective: the objective now, up to rounding in float32.
    """

    start: int
    sweep: int
    group: str
    done: int
    total: int
    objective: float


Progress: TypeAlias = Callable[[Step], object]
