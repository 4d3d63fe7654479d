"""Frank–Wolfe: weight matching of all groups at once, over relaxed permutations.

The solver of C2M3 (Crisostomi et al., 2024) for two networks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin.matching._coordinate_descent.network_set import NetworkSet
from onebasin.matching._relaxation.frank_wolfe import multi_start
from onebasin.matching.result import Matching, Progress
from onebasin.matching.weights import match_weights
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


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
    r"""Find the permutation of B that is closest to A, optimizing all groups jointly.

    Maximizes `<A, P(B)>` like `match_weights`, but over doubly stochastic P. Each step moves
    towards the permutation that maximizes the linearized objective, one assignment for each
    group. The objective is a polynomial along this line, so the line search is exact. The
    final matrices are rounded to the nearest permutation.

    Differs from the paper:
        - Supports any symmetry: nested units have one matrix for every pair of outer units,
          and a group may occur in several dimensions of a tensor.
        - The vertices of the steps are candidates, too. The best candidate is returned, which
          is never worse than the initial permutation.
        - Coordinate descent (`match_weights`) refines the result, unless `polish=False`.

    A step multiplies every tensor by its groups' matrices a few times. Both networks are read
    from their mappings in every step.

    Args:
        symmetry: symmetry of the architecture.
        params_a: parameters of A, the reference. Buffers may be missing.
        params_b: parameters of B, the network to permute.
        seed: random seed for further starts.
        max_steps: maximum number of steps of each start.
        restarts: number of starts. The first is the barycenter, with uniform matrices; others
            are halfway to random permutations.
        polish: whether to refine the result by coordinate descent.
        init: the initial permutation, instead of the barycenter.
        progress: callback with a `Step` after every step. Its group is empty, and its
            objective is that of the relaxed permutation.

    Returns:
        The matching. Its objective is that of the best permutation so far, after every step.
        `converged` is False if `max_steps` was reached.

    Raises:
        OneBasinError: tensors do not match the symmetry or are not finite, a count is below
            one, or `init` belongs to another symmetry.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
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
    network_set = NetworkSet(symmetry, [params_a, params_b], begin, labels=("A", "B"))
    runs = multi_start(
        network_set,
        from_init=init is not None,
        seed=seed,
        max_steps=max_steps,
        restarts=restarts,
        progress=progress,
    )
    (permutation,), trace, num_solves = runs.best.best, runs.best.trace, 0
    if polish:
        after = match_weights(symmetry, params_a, params_b, seed=seed, init=permutation)
        num_solves = after.num_solves
        if after.objective[-1] > trace[-1]:
            permutation, trace = after.permutation, [*trace, after.objective[-1]]
    return Matching(permutation=permutation, **runs.result_fields(trace, num_solves, began))
