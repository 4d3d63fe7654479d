"""The best of several descents of one search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter

from torch import Tensor

from onebasin.errors import check_amount
from onebasin.matching._coordinate_descent.descent import Descent
from onebasin.matching._coordinate_descent.pair import Pair, PairStats
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching.result import Matching, Progress
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation

MORE_STARTS = 4
"""Maximum number of starts if B must be a permuted A but no start has found the permutation."""


def begin_search(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    cache_bytes: int,
) -> tuple[Search, PairStats]:
    """Return a search for two checked networks, at the identity.

    Args:
        symmetry: symmetry of the architecture.
        params_a: the reference network.
        params_b: the network to permute.
        cache_bytes: memory for similarities of weights.

    Raises:
        OneBasinError: tensors do not match the symmetry or are not finite, or `cache_bytes` is
            invalid.
    """
    check_amount("cache_bytes", cache_bytes)
    pair = Pair(symmetry, params_a, params_b)
    stats = pair.compute_stats()
    return Search(symmetry, pair, cache_bytes=cache_bytes), stats


def descend_from_starts(
    search: Search,
    stats: PairStats,
    *,
    began: float,
    seed: int,
    max_sweeps: int,
    restarts: int,
    init: Permutation | None,
    progress: Progress | None,
    continues: bool = False,
    finish: Callable[[], Transformation] | None = None,
) -> Matching:
    """Return the best of several descents.

    Args:
        search: the search over the trees of both networks.
        stats: statistics of both networks. Starts are added if B must be a permuted A.
        began: start time of the matcher, from `time.perf_counter`.
        seed: random seed for the order of trees and for random starts.
        max_sweeps: maximum number of sweeps of each descent.
        restarts: number of starts.
        init: the first start, or None for the default.
        progress: callback after every tree.
        continues: whether the first start is the current state of the search.
        finish: function that returns the transformation of the final state of the search.
    """
    runs: list[Descent] = []
    while len(runs) < restarts or (len(runs) < MORE_STARTS and _missed(search, stats, runs)):
        number = len(runs)
        run = Descent(search, seed=seed, number=number, total=max_sweeps, progress=progress)
        if number == 0 and continues:
            run.continue_from_state()
        else:
            run.initialize(stats, init if number == 0 else None)
        run.descend()
        runs.append(run)
    best = max(runs, key=lambda run: run.value)
    search.restore(best.state)
    return Matching(
        permutation=Permutation(search.symmetry, best.indices),
        objective=best.trace(),
        converged=best.converged,
        num_sweeps=best.num_sweeps,
        num_solves=search.num_solves,
        seconds=perf_counter() - began,
        restarts=tuple(run.value for run in runs),
        element=None if finish is None else finish(),
    )


def _missed(search: Search, stats: PairStats, runs: list[Descent]) -> bool:
    """Return whether B must be a permuted A and no start has found the permutation."""
    reached = max(run.value - search.linear_value(run.indices) for run in runs)
    return stats.alike and reached < stats.bound * (1 - 1e-6)
