"""Weight matching: the permutation of B whose weights are most like A's.

Git Re-Basin (Ainsworth et al., 2023), section 3.2: coordinate descent, one assignment
problem after the other, for any symmetry. Sweeps are `onebasin.matching._coordinate_descent`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin.matching._checks import check_counts, check_init, check_seed
from onebasin.matching._coordinate_descent.runs import begin_search, descend_from_starts
from onebasin.matching.result import Matching, Progress
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_weights"

CACHE_BYTES = 2 * 2**30
"""Enough for all groups of a ResNet50 forty times over, or for eight of 8192 units."""


@checks_arguments
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

    Maximizes `<A, P(B)>` over the symmetry, which minimizes `|A - P(B)|`: one group at a
    time, all others held, until none improves. Tied tensors count once, buffers do not.
    Products are float32 (float64 where a checkpoint is) and summed in float64.

    Differs from the paper:
        - Any symmetry: units nested in others are matched for every pair of outer units,
          and the best sums are the outer similarity. A group on two dimensions of one
          tensor is linearized, and a step taken only if the objective rises.
        - The search starts from the better of the identity and a permutation that matches
          groups one after the other, each to its neighbors that are matched already.
        - Two sweeps push units from their present partners, by a share of the similarity
          that these partners owe to having been matched to each other; a sweep that does
          not raise the objective is undone.
        - Groups with many neighbors come first in a sweep; equal ones in random order.
        - Similarities are kept and corrected for the units that moved; a group whose
          neighbors stood still is not solved again.

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
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_weights(symmetry, a, b).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    check_counts(CALL, max_sweeps=max_sweeps, restarts=restarts)
    check_seed(CALL, seed)
    check_init(symmetry, init, CALL)
    began = time.perf_counter()
    search, survey = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes, call=CALL)
    return descend_from_starts(
        search,
        survey,
        began=began,
        seed=seed,
        max_sweeps=max_sweeps,
        restarts=restarts,
        init=init,
        progress=progress,
    )
