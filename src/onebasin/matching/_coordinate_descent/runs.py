"""Runs: a search begun, descended from several starts, and the best of them as a matching."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

from torch import Tensor

from onebasin.errors import check_amount
from onebasin.matching._coordinate_descent.descent import Descent
from onebasin.matching._coordinate_descent.pair import Pair, Survey
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.starts import start_of
from onebasin.matching.result import Matching, Progress
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

MORE_STARTS = 4
"""Starts that are tried where B must be a permuted A and is not recognized yet."""


def begin_search(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    cache_bytes: int,
    call: str,
) -> tuple[Search, Survey]:
    """Return a search over the trees of two networks, checked, with B unmoved.

    Args:
        symmetry: of their architecture.
        params_a: the reference.
        params_b: what is moved.
        cache_bytes: memory for similarities of weights.
        call: the public function that is running, for messages.

    Raises:
        OneBasinError: when tensors do not fit the symmetry or are not finite, or the memory is
            no amount.
    """
    check_amount(call, "cache_bytes", cache_bytes)
    pair = Pair(symmetry, params_a, params_b, call=call)
    survey = pair.survey()
    search = Search(symmetry, pair, cache_bytes=cache_bytes)
    search.indices = dict(Permutation.identity(symmetry).indices)
    return search, survey


def descend_from_starts(
    search: Search,
    survey: Survey,
    *,
    began: float,
    seed: int,
    max_sweeps: int,
    restarts: int,
    init: Permutation | None,
    progress: Progress | None,
) -> Matching:
    """Return the best of several descents.

    Args:
        search: over the trees of both networks.
        survey: of both; it may tell that B is A permuted, and then starts are added.
        began: when the matcher was called, by `time.perf_counter`.
        seed: of the order of trees and of random starts.
        max_sweeps: of each descent.
        restarts: starts to try.
        init: the first start, or None to choose.
        progress: called after every tree.
    """
    runs: list[Descent] = []
    while len(runs) < restarts or (len(runs) < MORE_STARTS and _missed(search, survey, runs)):
        number = len(runs)
        run = Descent(search, seed=seed, number=number, total=max_sweeps, progress=progress)
        start_of(run, survey, init if number == 0 else None, seed)
        run.descend()
        runs.append(run)
    best = max(runs, key=lambda run: run.value)
    return Matching(
        permutation=Permutation(search.symmetry, best.indices),
        objective=best.trace(),
        converged=best.converged,
        num_sweeps=best.num_sweeps,
        num_solves=search.num_solves,
        seconds=perf_counter() - began,
        restarts=tuple(run.value for run in runs),
    )


def _missed(search: Search, survey: Survey, runs: list[Descent]) -> bool:
    """Return whether B must be a permuted A, and no start has found how."""
    reached = max(run.value - search.linear_value(run.indices) for run in runs)
    return survey.alike and reached < survey.bound * (1 - 1e-6)
