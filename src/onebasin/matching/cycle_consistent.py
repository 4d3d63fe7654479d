"""Cycle-consistent matching: many networks through one universe.

C2M3 (Crisostomi et al., 2024): Frank–Wolfe over the permutations of all networks at once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin.errors import check_amount
from onebasin.matching._coordinate_descent.gathering import Gathering
from onebasin.matching._relaxation.ascent import climb_from_starts
from onebasin.matching.merge_many import Meeting
from onebasin.matching.result import ManyMatching, Progress
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_cycle_consistent"


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
    r"""Find permutations of several networks to one universe, all at once.

    Maximizes \(\sum_{i<j} \langle P_i(\theta_i), P_j(\theta_j) \rangle\) over doubly
    stochastic P by Frank–Wolfe, as `match_frank_wolfe` does for two. Network i goes to
    network j by way of the universe, \(P_j^{-1} P_i\): compositions around a cycle are the
    identity. No network is the reference by which the others are seen.

    Differs from the paper:
        - The universe has the first network's order of units; any other would do as well,
          and from the barycentre of all of them no direction leads anywhere.
        - Any symmetry, as in `match_frank_wolfe`.
        - The moves of `match_many` climb on from what is found, unless told not to.

    Args:
        symmetry: of the architecture of all.
        params_list: two or more networks. Buffers may be missing.
        seed: of further starts, and of the order of moves at the end.
        max_steps: for each start.
        restarts: starts to try; see `match_frank_wolfe`.
        polish: whether to climb on by coordinate descent.
        init: where to begin, a permutation for each network, instead of the barycentre.
        cache_bytes: memory for similarities in `polish`; see `match_weights`.
        progress: called with a `Step` after every step; its group is empty, its objective
            that of the relaxed permutations.

    Returns:
        One permutation for each network, to the order of the first; `between` gives those
        from one to another.

    Raises:
        OneBasinError: as `match_many`; when a count is below one.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> others = [Permutation.random(symmetry, seed=seed).apply(a) for seed in (1, 2)]
        >>> found = match_cycle_consistent(symmetry, [a, *others])
        >>> around = found.between(2, 0) @ found.between(1, 2) @ found.between(0, 1)
        >>> sum(around.num_moved.values())
        0
    """
    check_amount(CALL, "cache_bytes", cache_bytes)
    began = time.perf_counter()
    gathering = Gathering(symmetry, params_list, init, call=CALL)
    gathering.permutations[:] = gathering.to_first()
    climbs = climb_from_starts(
        gathering,
        from_init=init is not None,
        seed=seed,
        max_steps=max_steps,
        restarts=restarts,
        call=CALL,
        progress=progress,
    )
    gathering.permutations[1:], trace, num_solves = climbs.best.best, climbs.best.trace, 0
    if polish:
        meeting = Meeting(gathering, seed=seed, cache_bytes=cache_bytes, progress=None)
        meeting.sweep_until_none_moves(max_steps)
        trace = [*trace, *(value for value in meeting.values[1:] if value > trace[-1])]
        num_solves = meeting.num_solves
    ending = climbs.ending(trace, num_solves, began)
    return ManyMatching(permutations=gathering.to_first(), **ending)
