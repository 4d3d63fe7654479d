"""Matching in all maps of a symmetry: permutations, signs, scales, rotations and linear maps.

Both networks are balanced first, so that only permutations, signs and orthogonal maps remain.
These are found by the coordinate descent of weight matching: one assignment problem or one
orthogonal Procrustes problem at a time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin.errors import check_amount
from onebasin.matching._checks import check_counts, check_seed
from onebasin.matching._coordinate_descent.pair import Pair, PairStats
from onebasin.matching._coordinate_descent.runs import descend_from_starts
from onebasin.matching._rotations.balance import balanced, mixing_groups
from onebasin.matching._rotations.moving import TransformedNetwork
from onebasin.matching._rotations.search import RotationSearch
from onebasin.matching.result import Matching, Progress
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation, old_outers
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation


@checks_arguments
def match_rotations(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    seed: int = 0,
    max_sweeps: int = 100,
    restarts: int = 1,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
):
    """TODO"""
    check_counts(max_sweeps=max_sweeps, restarts=restarts)
    check_seed(seed)
    check_amount("cache_bytes", cache_bytes)
    began = time.perf_counter()
    setup = begin_rotations(symmetry, params_a, params_b, cache_bytes=cache_bytes)
    matching = descend_from_starts(
        setup.search,
        setup.stats,
        began=began,
        seed=seed,
        max_sweeps=max_sweeps,
        restarts=restarts,
        init=None,
        progress=progress,
    )
    return matching, setup.transformation()


@dataclass
class Rotations:
    """A search over two balanced networks.

    Args:
        search: the search.
        stats: statistics of both balanced networks.
        balance_a, balance_b: the transformations that balance them.
    """

    search: RotationSearch
    stats: PairStats
    balance_a: Transformation
    balance_b: Transformation

    def transformation(self) -> Transformation:
        """Return the transformation that aligns B to A, for the current state of the search."""
        return self.balance_a.inverse() @ self.compact() @ self.balance_b

    def compact(self) -> Transformation:
        """Return the permutations, orthogonal maps and signs of the current state."""
        symmetry, indices, moving = self.search.symmetry, self.search.indices, self.search.moving

        def arranged(name: str, values: Tensor) -> Tensor:
            positions = old_outers(symmetry, indices, name)
            return values[positions] if positions else values

        maps = {name: arranged(name, each) for name, each in moving.maps.items()}
        signs = {
            name: torch.stack([arranged(name, one).gather(-1, indices[name]) for one in each])
            for name, each in moving.signs.items()
        }
        return Transformation(symmetry, Permutation(symmetry, indices), maps, {}, signs)


def begin_rotations(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    cache_bytes: int,
) -> Rotations:
    """Return a search for two checked networks, at the identity."""
    Pair(symmetry, params_a, params_b).compute_stats()
    mixing = mixing_groups(symmetry, (params_a, params_b))
    balances = [balanced(symmetry, params, mixing) for params in (params_a, params_b)]
    a, b = (
        _with_offsets(symmetry, g.apply(p))
        for g, p in zip(balances, (params_a, params_b), strict=True)
    )
    moving = TransformedNetwork(symmetry, b, mixing, cache_bytes=cache_bytes)
    pair = Pair(symmetry, a, moving)
    gains = {gain.axis.tensor for name in mixing for gain in symmetry.actions[name].gains}
    pair.names = tuple(name for name in pair.names if name not in gains)
    stats = pair.compute_stats()
    search = RotationSearch(symmetry, pair, moving, is_exact=stats.alike, cache_bytes=cache_bytes)
    return Rotations(search, stats, *balances)


def _with_offsets(symmetry: Symmetry, params: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a network in which gains such as `1 + weight` are tensors of their own."""
    offsets = {
        axis.tensor: offset
        for action in symmetry.actions.values()
        for axis, offset in (action.offsets or {}).items()
    }
    return {name: value + offsets.get(name, 0.0) for name, value in params.items()}
