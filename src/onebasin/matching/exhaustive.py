"""Exhaustive search: the best of all permutations, for tiny groups.

The units of one group are enumerated in the order of Steinhaus, Johnson and Trotter. Several
groups are the digits of a reflected Gray code, with nested groups as the fastest digits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import factorial, prod
from typing import Any, Literal

import numpy as np
from jaxtyping import Int, Int32
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import ArgumentError, check_choice, public
from onebasin.matching._annealing.evaluated import EvaluatedState, Examples, Params, examples_of
from onebasin.matching._annealing.factory import energy_at, state_factory
from onebasin.matching._annealing.inner_product import InnerProductState
from onebasin.matching._annealing.state import (
    AnnealingState,
    Column,
    NetworkIndices,
    Steps,
    Swap,
    columns_of,
    transposition,
)
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._losses import Normalization
from onebasin.matching.result import Matching, Progress, Step
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


@dataclass(frozen=True)
class Digit:
    """The units of a group at one outer position.

    Args:
        column: number of the group's column.
        row: the outer position.
    """

    column: int
    row: int


class Enumeration:
    """All permutations of one network, as steps from the identity.

    Args:
        symmetry: symmetry of the network.
        network: number of the network.
        limit: maximum number of permutations.

    Raises:
        OneBasinError: there are more permutations.
    """

    def __init__(self, symmetry: Symmetry, *, network: int, limit: int) -> None:
        """Count the permutations and order the digits."""
        self.columns: tuple[Column, ...] = columns_of(symmetry, [network])
        self.size = prod(factorial(column.size) ** column.rows for column in self.columns)
        if self.size > limit:
            shown = f"{self.size:,}" if self.size < 10**15 else f"10^{symmetry.log10_order:.1f}"
            raise ArgumentError(
                f"the symmetry has {shown} permutations, above the limit of {limit:,}; use "
                "another matcher, or increase limit"
            )
        # Nested groups come after their outer groups and must be the faster digits. Otherwise
        # some of their permutations are skipped.
        fast_first = reversed(list(enumerate(self.columns)))
        self.digits = [Digit(at, row) for at, c in fast_first for row in range(c.rows)]
        self._turns = self._interleaved()

    def __len__(self) -> int:
        """Return the number of steps, one less than the number of permutations."""
        return self.size - 1

    def _interleaved(self) -> Int32[np.ndarray, "s 2"]:
        """Return the digit and the first position of the swap of every step."""
        turns = np.empty((0, 2), dtype=np.int32)
        for number, digit in enumerate(self.digits):
            own = adjacent_swaps(self.columns[digit.column].size)
            slow = np.stack((np.full(len(own), number, np.int32), own), axis=1)
            turns = interleave(turns, slow)
        return turns

    def steps(self, start: int, stop: int) -> Steps:
        """Return some of the steps; all are accepted."""
        turns = self._turns[start:stop]
        swaps = np.full((len(turns), len(self.columns), 3), -1, dtype=np.int64)
        columns = np.array([digit.column for digit in self.digits])[turns[:, 0]]
        rows = np.array([digit.row for digit in self.digits])[turns[:, 0]]
        positions = np.stack((rows, turns[:, 1], turns[:, 1] + 1), axis=1)
        swaps[np.arange(len(turns)), columns] = positions
        ones = np.ones(len(turns))
        return Steps(self.columns, swaps, np.zeros(len(turns)), np.inf * ones)


def interleave(
    fast: Int[np.ndarray, " m *step"], slow: Int[np.ndarray, " n *step"]
) -> Int[np.ndarray, " (m+1)*(n+1)-1 *step"]:
    """Return the fast steps, a slow one, the fast ones backwards, a slow one, and so on.

    Args:
        fast: steps that are their own inverses.
        slow: other steps.
    """
    rounds = np.empty((len(slow) + 1, len(fast) + 1, *slow.shape[1:]), dtype=slow.dtype)
    rounds[0::2, :-1], rounds[1::2, :-1] = fast, fast[::-1]
    rounds[:-1, -1] = slow
    return rounds.reshape(-1, *slow.shape[1:])[:-1]


def adjacent_swaps(size: int) -> Int32[np.ndarray, " s"]:
    """Return the swaps of neighbors that visit all permutations of some units once.

    Returns:
        The first position of each of the `size! - 1` swaps.

    Example:
        >>> adjacent_swaps(3).tolist()
        [1, 0, 1, 0, 1]
    """
    swaps = np.empty(0, dtype=np.int32)
    for last in range(1, size):
        # The last unit moves from right to left and back. While it is leftmost, the others
        # are shifted to the right by one.
        sweep = np.arange(last - 1, -1, -1, dtype=np.int32)
        others = swaps + (np.arange(len(swaps)) % 2 == 0)
        swaps = interleave(sweep, others.astype(np.int32))
    return swaps


Objective = Literal["weights", "loss", "error"]

LIMIT = 1_000_000
"""More than the permutations of nine units, which take a few seconds by weights."""

MIDPOINT = ((0, 1),)
"""The average of networks 0 and 1."""

SEGMENT = 4096
"""Number of permutations between progress reports."""


@checks_arguments
def match_exhaustive(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    objective: Objective | None = None,
    evaluate: Callable[[Mapping[str, Tensor]], float] | None = None,
    model: nn.Module | None = None,
    data: Iterable[Any] | None = None,
    normalization: Normalization = "interpolated",
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the best of all permutations of B by enumeration.

    All groups are permuted jointly, nested ones included. Each permutation is one swap of
    neighbors from the previous one (Steinhaus, Johnson and Trotter). By weights a swap changes
    a few products; the midpoint loss of linear layers is corrected for the swapped units.

    Args:
        symmetry: symmetry of the architecture, with tiny groups.
        params_a: parameters of A, the reference; with data, also its buffers.
        params_b: parameters of B, the network to permute; with data, also its buffers.
        objective: `weights` maximizes `<A, P(B)>` like `match_weights`. `loss` and `error`
            minimize that of the midpoint between A and P(B) on the data. The default is
            `loss` with data, otherwise `weights`.
        evaluate: custom function of the midpoint's parameters to minimize instead.
        model: the architecture, for loss and error.
        data: batches `(inputs, labels)`, for loss and error; read once and kept in memory.
        normalization: see `match_annealing`.
        limit: maximum number of permutations.
        progress: callback with a `Step` every 4096 permutations; `done` counts them.

    Returns:
        The matching. Its objective is the inner product or the negative loss, before and
        after.

    Raises:
        OneBasinError: the number of permutations exceeds `limit`, loss or error have no model
            or data, or tensors do not match the symmetry.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
        >>> net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_exhaustive(symmetry, a, b).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    began = time.perf_counter()
    objective = objective or ("weights" if data is None else "loss")
    check_choice("objective", objective, Objective)
    enumeration = Enumeration(symmetry, network=1, limit=limit)
    pair = Pair(symmetry, params_a, params_b)
    pair.compute_stats()
    if evaluate is None and objective == "weights":
        state: AnnealingState = InnerProductState(pair)
        energy_of = _negative(pair)
    else:
        networks = dict(params_a), dict(params_b)
        energy = evaluate or _examples(objective, model, data, normalization)
        state, energy_of = _state_at_midpoint(symmetry, networks, energy)
    start = state.indices
    for done in range(0, len(enumeration), SEGMENT):
        state.run(enumeration.steps(done, done + SEGMENT))
        if progress is not None:
            count = min(done + SEGMENT, len(enumeration)) + 1
            progress(Step(0, 1, "", count, enumeration.size, -state.best_energy))
    before, after = energy_of(start), energy_of(state.best_indices)
    indices = state.best_indices if after <= before else start
    value = -min(before, after)
    return Matching(
        permutation=Permutation(symmetry, indices[1]),
        objective=(-before, value),
        converged=True,
        num_sweeps=1,
        num_solves=0,
        seconds=time.perf_counter() - began,
        restarts=(value,),
    )


@public
def enumerate_permutations(symmetry: Symmetry, *, limit: int = LIMIT) -> Iterator[Permutation]:
    """Yield every permutation of a symmetry once, the identity first.

    Each is one swap of neighbors from the previous one.

    Args:
        symmetry: symmetry with tiny groups.
        limit: maximum number of permutations.

    Raises:
        OneBasinError: there are more permutations.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> len(list(enumerate_permutations(infer_symmetry(net, torch.zeros(2, 3)))))
        24
    """
    enumeration = Enumeration(symmetry, network=0, limit=limit)
    return _permutations(symmetry, enumeration)


def _permutations(symmetry: Symmetry, enumeration: Enumeration) -> Iterator[Permutation]:
    permutation, known = Permutation.identity(symmetry), dict[Swap, Permutation]()
    yield permutation
    for start in range(0, len(enumeration), SEGMENT):
        steps = enumeration.steps(start, start + SEGMENT)
        for number in range(len(steps)):
            (swap,) = steps.at(number)
            if swap not in known:
                known[swap] = transposition(symmetry, [swap])
            permutation = known[swap] @ permutation
            yield permutation


def _negative(pair: Pair) -> Callable[[NetworkIndices], float]:
    return lambda indices: -pair.objective(indices[1])


def _state_at_midpoint(
    symmetry: Symmetry,
    networks: tuple[Params, Params],
    energy: Callable[[Params], float],
) -> tuple[AnnealingState, Callable[[NetworkIndices], float]]:
    """Return a state of the midpoint network and a function for its full energy."""
    identity = dict(Permutation.identity(symmetry).indices)
    indices = identity, identity
    if isinstance(energy, Examples):
        state = state_factory(symmetry, networks, MIDPOINT, energy)(indices)
    else:
        state = EvaluatedState(symmetry, networks, indices, MIDPOINT, energy)
    return state, partial(energy_at, symmetry, networks, MIDPOINT, energy)


def _examples(
    objective: Objective,
    model: nn.Module | None,
    data: Iterable[Any] | None,
    normalization: Normalization,
) -> Examples:
    if objective == "weights" or model is None or data is None:
        raise ArgumentError(f"objective {objective!r} needs data; pass model= and data=")
    return examples_of(model, data, objective, normalization=normalization)
