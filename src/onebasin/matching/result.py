"""Matchings: what a search for a permutation returns, and what it tells while it runs.

Owns `Matching`, the result that all matchers of two networks have in common, `ManyMatching`,
that of the matchers of several, and `Step`, which progress callbacks get.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from onebasin.errors import OneBasinError
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

    def __repr__(self) -> str:
        moved = sum(self.permutation.num_moved.values())
        return f"Matching: {_summary(self)}, {moved} units moved"


@dataclass(frozen=True)
class ManyMatching:
    """The permutations that bring several networks into one basin, and how the search went.

    The merged network is the mean of the moved ones,
    `merge(matching.apply(params_list))`.

    Args:
        permutations: one for each network, in their order; that of the first is the identity.
        objective: as in `Matching`.
        converged: as in `Matching`.
        num_sweeps: passes over all networks, on the start that is returned.
        num_solves: as in `Matching`.
        seconds: wall-clock time of the search.
        restarts: the final objective of every start, the returned one among them.
    """

    permutations: tuple[Permutation, ...]
    objective: tuple[float, ...]
    converged: bool
    num_sweeps: int
    num_solves: int
    seconds: float
    restarts: tuple[float, ...] = ()

    def __repr__(self) -> str:
        moved = sum(sum(each.num_moved.values()) for each in self.permutations)
        networks = len(self.permutations)
        return f"ManyMatching: {networks} networks, {_summary(self)}, {moved} units moved"

    def apply(self, params_list: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Return the networks moved to the first; what was given stays as it is.

        Args:
            params_list: parameters and buffers of the networks that were matched, in order.
        """
        if len(params_list) != len(self.permutations):
            raise OneBasinError(
                f"apply: {len(params_list)} networks for {len(self.permutations)} permutations;"
                " give the networks that were matched"
            )
        moves = zip(self.permutations, params_list, strict=True)
        return [permutation.apply(params) for permutation, params in moves]

    def between(self, source: int, target: int) -> Permutation:
        """Return the permutation that moves one network to another.

        Laws: `between(b, c) @ between(a, b)` equals `between(a, c)`, so that compositions
        around a cycle are the identity.

        Args:
            source: number of the network that moves, from 0.
            target: number of the network that it moves to.
        """
        return self.permutations[target].inverse() @ self.permutations[source]


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
"""A function that a matcher calls after every step."""


def _summary(matching: Matching | ManyMatching) -> str:
    """Return how a search went, for people."""
    ends = [f"{value:.6g}" for value in (matching.objective[:1] + matching.objective[-1:])]
    state = "converged" if matching.converged else "not converged"
    objective = f"objective {' -> '.join(ends)}" if ends else "no objective"
    return f"{objective}, {state} after {matching.num_sweeps} sweeps and {matching.seconds:.1f} s"
