"""Weight matching: the permutation of B whose weights are most like A's.

Git Re-Basin (Ainsworth et al., 2023), section 3.2: coordinate descent, one assignment
problem after the other, for any symmetry. Sweeps are `onebasin.matching.descent`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.matching.descent.descent import Descent
from onebasin.matching.descent.pair import Pair, Survey
from onebasin.matching.descent.search import Search
from onebasin.matching.descent.starts import start_of
from onebasin.matching.matching import Matching, Progress
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CACHE_BYTES = 2 * 2**30
"""Enough for all groups of a ResNet50 forty times over, or for eight of 8192 units."""

MORE_STARTS = 4
"""Starts that are tried where B must be a permuted A and is not recognised yet."""


def match_weights(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    seed: int = 0,
    max_sweeps: int = 100,
    restarts: int = 1,
    init: Permutation | None = None,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> Matching:
    """Find the permutation of B that brings it closest to A in weight space.

    Maximises `<A, P(B)>` over the symmetry, which minimises `|A - P(B)|`: one group at a
    time, all others held, until none improves. Tied tensors count once, buffers do not.
    Products are float32 (float64 where a checkpoint is) and summed in float64.

    Differs from the paper:
        - Any symmetry: units nested in others are matched for every pair of outer units,
          and the best sums are the outer similarity. A group on two dimensions of one
          tensor is linearised, and a step taken only if the objective rises.
        - The search starts from the better of the identity and a permutation that matches
          groups one after the other, each to its neighbours that are matched already.
        - Two sweeps push units from their present partners, by a share of the similarity
          that these partners owe to having been matched to each other; a sweep that does
          not raise the objective is undone.
        - Groups with many neighbours come first in a sweep; equal ones in random order.
        - Similarities are kept and corrected for the units that moved; a group whose
          neighbours stood still is not solved again.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference; any mapping, tensors are read when needed, at most once a
            step. Buffers may be missing.
        params_b: what is moved.
        seed: of the order of groups; the same seed gives the same permutation.
        max_sweeps: passes over all groups at most.
        restarts: starts to try; the best one is returned. After the first come one that
            matches units by the moments of their weights, and random ones. Where B has the
            norms of a permuted A, up to 4 are tried until it is found.
        init: where to begin, by default as above; with it the objective only climbs.
        cache_bytes: memory for similarities; what does not fit is made anew when needed.
        progress: called with a `Step` after every group.

    Returns:
        The matching; `converged` is False where `max_sweeps` ended the search.

    Raises:
        OneBasinError: when tensors are missing, have other shapes, are not real numbers or
            not finite; when a count is below one; when `init` is of another symmetry.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> symmetry = trace(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_weights(symmetry, a, b).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    _check(symmetry, max_sweeps, restarts, init)
    began = time.perf_counter()
    pair = Pair(symmetry, params_a, params_b)
    survey = pair.survey()
    search = Search(symmetry, pair, cache_bytes=cache_bytes)
    runs: list[Descent] = []
    while len(runs) < restarts or (len(runs) < MORE_STARTS and _missed(survey, runs)):
        number = len(runs)
        run = Descent(search, seed=seed, number=number, total=max_sweeps, progress=progress)
        start_of(run, survey, init if number == 0 else None, seed)
        run.descend()
        runs.append(run)
    best = max(runs, key=lambda run: run.value)
    return Matching(
        permutation=Permutation(symmetry, best.indices),
        objective=best.trace(),
        converged=best.converged,
        num_sweeps=best.num_sweeps,
        num_solves=search.num_solves,
        seconds=time.perf_counter() - began,
        restarts=tuple(run.value for run in runs),
    )


def _check(symmetry: Symmetry, max_sweeps: int, restarts: int, init: Permutation | None) -> None:
    if max_sweeps < 1 or restarts < 1:
        raise OneBasinError(
            f"match_weights: max_sweeps and restarts must be at least 1, not {max_sweeps} and"
            f" {restarts}"
        )
    check_init(symmetry, init, "match_weights")


def check_init(symmetry: Symmetry, init: Permutation | None, call: str) -> None:
    """Check that a permutation to begin at is of the symmetry.

    Args:
        symmetry: that is matched.
        init: None for none.
        call: the public function that is running, for the message.

    Raises:
        OneBasinError: when it is of another one.
    """
    if init is not None and init.symmetry.fingerprint != symmetry.fingerprint:
        raise OneBasinError(
            f"{call}: init is a permutation of another symmetry; make it with the symmetry"
            " that is given"
        )


def _missed(survey: Survey, runs: list[Descent]) -> bool:
    """Return whether B must be a permuted A, and no start has found how."""
    reached = max(run.value for run in runs)
    return survey.alike and reached < survey.bound * (1 - 1e-6)
