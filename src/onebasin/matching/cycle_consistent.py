"""C2M3: cycle-consistent matching via a shared reference frame.

Crisostomi et al. (2024): Frank–Wolfe over the permutations of all networks at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin.errors import check_amount
from onebasin.matching._coordinate_descent.network_set import NetworkSet
from onebasin.matching._relaxation.frank_wolfe import multi_start
from onebasin.matching.merge_many import MergeManySolver
from onebasin.matching.result import ManyMatching, Progress
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


@checks_arguments
def match_cycle_consistent(
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    *,
    seed: int = 0,
    max_steps: int = 100,
    restarts: int = 1,
    polish: bool = True,
    init: Sequence[Permutation] | None = None,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> ManyMatching:
    r"""Find cycle-consistent permutations of several networks to a shared reference frame.

    Maximizes \(\sum_{i<j} \langle P_i(\theta_i), P_j(\theta_j) \rangle\) over doubly
    stochastic P by Frank–Wolfe, as `match_frank_wolfe` does for two. Network i is aligned to
    network j through the shared frame, \(P_j^{-1} P_i\), so compositions around a cycle are
    the identity. The objective treats all networks alike.

    Differs from the paper:
        - The first network defines the shared frame. The choice is arbitrary; without it, the
          barycenter of all networks is a stationary point.
        - Supports any symmetry, as `match_frank_wolfe` does.
        - `match_many` refines the result, unless `polish=False`.

    Args:
        symmetry: symmetry of the architecture.
        params_list: two or more networks. Buffers may be missing.
        seed: random seed for further starts, and for the order of the refinement.
        max_steps: maximum number of steps of each start.
        restarts: number of starts; see `match_frank_wolfe`.
        polish: whether to refine the result by coordinate descent.
        init: initial permutation of each network, instead of the barycenter.
        cache_bytes: memory for similarities in `polish`; see `match_weights`.
        progress: callback with a `Step` after every step. Its group is empty, and its
            objective is that of the relaxed permutations.

    Returns:
        One permutation for each network to the order of the first; `between` returns those
        between two others.

    Raises:
        OneBasinError: for the reasons of `match_many`, or if a count is below one.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> others = [Permutation.random(symmetry, seed=seed).apply(a) for seed in (1, 2)]
        >>> matching = match_cycle_consistent(symmetry, [a, *others])
        >>> cycle = matching.between(2, 0) @ matching.between(1, 2) @ matching.between(0, 1)
        >>> sum(cycle.num_moved.values())
        0
    """
    check_amount("cache_bytes", cache_bytes)
    began = time.perf_counter()
    network_set = NetworkSet(symmetry, params_list, init)
    network_set.permutations[:] = network_set.relative_to_first()
    runs = multi_start(
        network_set,
        from_init=init is not None,
        seed=seed,
        max_steps=max_steps,
        restarts=restarts,
        progress=progress,
    )
    network_set.permutations[1:], trace, num_solves = runs.best.best, runs.best.trace, 0
    if polish:
        solver = MergeManySolver(network_set, seed=seed, cache_bytes=cache_bytes, progress=None)
        solver.run(max_steps)
        trace = [*trace, *(value for value in solver.values[1:] if value > trace[-1])]
        num_solves = solver.num_solves
    fields = runs.result_fields(trace, num_solves, began)
    return ManyMatching(permutations=network_set.relative_to_first(), **fields)
