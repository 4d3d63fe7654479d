"""Frank–Wolfe: weight matching of all groups at once, over relaxed permutations.

The solver of C2M3 (Crisostomi et al., 2024) for two networks. The relaxed permutations and
their steps are `onebasin.matching._relaxation`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin.matching._coordinate_descent.gathering import Gathering
from onebasin.matching._relaxation.ascent import climb_from_starts
from onebasin.matching.result import Matching, Progress
from onebasin.matching.weights import match_weights
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_frank_wolfe"


@checks_arguments
def match_frank_wolfe(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    seed: int = 0,
    max_steps: int = 100,
    restarts: int = 1,
    polish: bool = True,
    init: Permutation | None = None,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the permutation of B that brings it closest to A, moving all groups at once.

    Maximizes `<A, P(B)>`, as `match_weights` does, but over doubly stochastic P: each step
    goes towards the permutation that the gradient points to, one assignment for each group,
    as far as is best. The objective is a polynomial along that line, and its peak is found
    exactly. In the end every unit goes where most of it went.

    Differs from the paper:
        - Any symmetry: units nested in others have one matrix for every pair of outer units,
          and a group may lie on several dimensions of a tensor.
        - The permutations that steps go towards are candidates, too; the best one of all is
          returned, and never one that is worse than where the search began.
        - Coordinate descent (`match_weights`) climbs on from it, unless told not to.

    A step takes a few products of every tensor with its groups' matrices. Both networks are
    read from their mappings in every step.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference. Buffers may be missing.
        params_b: what is moved.
        seed: of further starts.
        max_steps: for each start.
        restarts: starts to try; the first is the barycentre, from which every unit goes
            everywhere alike, others are halfway to random permutations.
        polish: whether to climb on by coordinate descent.
        init: where to begin, instead of the barycentre.
        progress: called with a `Step` after every step; its group is empty, its objective
            that of the relaxed permutation.

    Returns:
        The matching; its objective is that of the best permutation so far, after every step.
        `converged` is False where `max_steps` ended the search.

    Raises:
        OneBasinError: when tensors do not fit the symmetry or are not finite, or a count is
            below one; when `init` is of another symmetry.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_frank_wolfe(symmetry, a, b).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    began = time.perf_counter()
    begin = init and [Permutation.identity(symmetry), init]
    gathering = Gathering(symmetry, [params_a, params_b], begin, call=CALL, labels=("A", "B"))
    climbs = climb_from_starts(
        gathering,
        from_init=init is not None,
        seed=seed,
        max_steps=max_steps,
        restarts=restarts,
        call=CALL,
        progress=progress,
    )
    (found,), trace, num_solves = climbs.best.best, climbs.best.trace, 0
    if polish:
        after = match_weights(symmetry, params_a, params_b, seed=seed, init=found)
        num_solves = after.num_solves
        if after.objective[-1] > trace[-1]:
            found, trace = after.permutation, [*trace, after.objective[-1]]
    return Matching(permutation=found, **climbs.ending(trace, num_solves, began))
