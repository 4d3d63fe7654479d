"""Weight matching: align the weights of B with those of A.

Git Re-Basin (Ainsworth et al., 2023), section 3.2: coordinate descent over groups, one
assignment problem at a time, for any symmetry.
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

CACHE_BYTES = 2 * 2**30
"""Forty times the size for all groups of a ResNet50, or enough for eight groups of 8192 units."""


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
    """Find the permutation of B that is closest to A in weight space.

    Maximizes `<A, P(B)>` over the symmetry, which minimizes `|A - P(B)|`: one group at a time
    with all others fixed, until none improves. Tied tensors count once; buffers do not count.
    Products are float32 (float64 for float64 checkpoints) and are summed in float64.

    Differs from the paper:
        - Supports any symmetry: nested units are matched for every pair of outer units, and the
          best sums are the outer similarity. A group in two dimensions of one tensor is
          linearized, and a step is accepted only if the objective increases.
        - The search starts from the better of two permutations: the identity, and one that
          matches groups one after the other to their matched neighbors.
        - Two sweeps perturb the current pairs: these lose a fraction of the similarity that is
          due to their previous matching. A sweep that does not increase the objective is undone.
        - Groups with many neighbors come first in a sweep; ties are in random order.
        - Similarities are cached and corrected for the units that moved. A group is solved again
          only if a neighbor moved.

    Args:
        symmetry: symmetry of the architecture.
        params_a: parameters of A, the reference; tensors are read when needed, at most once per
            step. Buffers may be missing.
        params_b: parameters of B, the network to permute.
        seed: random seed for the group order; the same seed gives the same permutation.
        max_sweeps: maximum number of passes over all groups.
        restarts: number of starts; the best one is returned. The second start matches units by
            the moments of their weights, further ones are random. If B has the norms of a
            permuted A, up to 4 starts are tried until the permutation is found.
        init: the initial permutation; by default as described above.
        cache_bytes: memory for similarities; the others are recomputed when needed.
        progress: callback with a `Step` after every group.

    Returns:
        The matching; `converged` is False if `max_sweeps` was reached.

    Raises:
        OneBasinError: tensors are missing, have other shapes, or are not real and finite; a
            count is below one; `init` belongs to another symmetry.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_weights(symmetry, a, b).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    check_counts(max_sweeps=max_sweeps, restarts=restarts)
    check_seed(seed)
    check_init(symmetry, init)
    began = time.perf_counter()
    search, stats = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes)
    return descend_from_starts(
        search,
        stats,
        began=began,
        seed=seed,
        max_sweeps=max_sweeps,
        restarts=restarts,
        init=init,
        progress=progress,
    )
