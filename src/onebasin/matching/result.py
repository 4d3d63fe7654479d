"""Results of matchers, and the `Step` of progress callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from onebasin._text import counted
from onebasin.errors import ArgumentError, public
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.transformation import Transformation


@dataclass(frozen=True)
class Matching:
    """The result of matching two networks.

    Args:
        permutation: the permutation that aligns B to A: `permutation.apply(params_b)`. For
            methods that also scale or mix units it is only a part of `transformation`.
        objective: values at the start and after every accepted sweep. They never decrease; the
            first and last are evaluated in float64.
        converged: whether no step improves the objective; False if the limit of sweeps was
            reached.
        num_sweeps: number of passes over all groups, for the returned start.
        num_solves: number of assignment problems of whole groups, over all starts.
        seconds: wall-clock time of the search.
        restarts: final objective of every start, the returned one included.
        element: the transformation of a method that also mixes or scales units, else None.
    """

    permutation: Permutation
    objective: tuple[float, ...]
    converged: bool
    num_sweeps: int
    num_solves: int
    seconds: float
    restarts: tuple[float, ...] = ()
    element: Transformation | None = None

    @property
    def transformation(self) -> Transformation:
        """The transformation that aligns B to A: `transformation.apply(params_b)`."""
        return self.element or Transformation(self.permutation.symmetry, self.permutation)

    def __repr__(self) -> str:
        moved = sum(self.permutation.num_moved.values())
        return f"Matching: {_summary(self)}, {moved} units moved"


@dataclass(frozen=True)
class ManyMatching:
    """The result of matching several networks.

    The merged network is the mean of the permuted ones, `average(matching.apply(params_list))`.

    Args:
        permutations: one for each network, in order; the first is the identity.
        elements: transformations of a method that also mixes or scales units, else empty.
        objective: see `Matching`.
        converged: see `Matching`.
        num_sweeps: number of passes over all networks, for the returned start.
        num_solves: see `Matching`.
        seconds: wall-clock time of the search.
        restarts: final objective of every start, the returned one included.
    """

    permutations: tuple[Permutation, ...]
    objective: tuple[float, ...]
    converged: bool
    num_sweeps: int
    num_solves: int
    seconds: float
    restarts: tuple[float, ...] = ()
    elements: tuple[Transformation, ...] = ()

    @property
    def transformations(self) -> tuple[Transformation, ...]:
        """The transformation of each network, in order; the first is the identity."""
        own = (Transformation(each.symmetry, each) for each in self.permutations)
        return self.elements or tuple(own)

    def __repr__(self) -> str:
        moved = sum(sum(permutation.num_moved.values()) for permutation in self.permutations)
        networks = len(self.permutations)
        return f"ManyMatching: {networks} networks, {_summary(self)}, {moved} units moved"

    @public
    def apply(self, params_list: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Return the networks aligned to the first; the inputs are not changed.

        Args:
            params_list: parameters and buffers of the matched networks, in order.
        """
        if len(params_list) != len(self.transformations):
            raise ArgumentError(
                f"{counted(len(params_list), 'network')} for "
                f"{counted(len(self.permutations), 'permutation')};"
                " pass the networks that were matched"
            )
        moves = zip(self.transformations, params_list, strict=True)
        return [transformation.apply(params) for transformation, params in moves]

    def between(self, source: int, target: int) -> Permutation:
        """Return the permutation that aligns one network to another.

        Laws: `between(b, c) @ between(a, b)` equals `between(a, c)`, so compositions around a cycle
        are the identity.

        Args:
            source: number of the network to permute, from 0.
            target: number of the reference network.
        """
        return self.permutations[target].inverse() @ self.permutations[source]


@dataclass(frozen=True)
class Step:
    """A progress report of a matcher.

    Args:
        start: number of the start, from 0.
        sweep: number of the sweep, from 1; 0 during initialization.
        group: name of the group; its nested groups are matched with it.
        done: number of groups done in this sweep.
        total: number of groups in a sweep.
        objective: current objective, up to rounding in float32.
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
    """Return a summary of the search as text."""
    ends = [f"{value:.6g}" for value in (matching.objective[:1] + matching.objective[-1:])]
    state = "converged" if matching.converged else "not converged"
    objective = f"objective {' -> '.join(ends)}" if ends else "no objective"
    return f"{objective}, {state} after {matching.num_sweeps} sweeps and {matching.seconds:.1f} s"
