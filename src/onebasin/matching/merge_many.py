"""MergeMany: any number of networks, each moved to the mean of the others.

Git Re-Basin (Ainsworth et al., 2023), Algorithm 2. Every move is one weight matching.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin.errors import check_amount
from onebasin.matching._checks import check_counts, check_seed
from onebasin.matching._coordinate_descent.gathering import Gathering
from onebasin.matching.result import ManyMatching, Matching, Progress, Step
from onebasin.matching.weights import CACHE_BYTES, match_weights
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_many"


@checks_arguments
def match_many(
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    *,
    seed: int = 0,
    max_sweeps: int = 100,
    init: Sequence[Permutation] | None = None,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> ManyMatching:
    r"""Find the permutations that bring several networks closest to their mean.

    Maximizes \(\sum_{i<j} \langle P_i(\theta_i), P_j(\theta_j) \rangle\), which minimizes the
    squared distances of all pairs: network after network is matched to the mean of the others,
    in random order, until none moves. The objective never decreases.

    Differs from the paper:
        - The networks come together one by one before the first sweep, each matched to the
          mean of those that are there; the mean of networks that were never matched is
          close to no network.
        - Each move is `match_weights`, with all that it does better than the paper; after
          the start it begins where the network is.
        - The first network stays where it is: all are moved back by its permutation.

    Memory: two networks beside those given.

    Args:
        symmetry: of the architecture of all.
        params_list: two or more networks, the reference first. Buffers may be missing.
        seed: of the order of networks and of their groups.
        max_sweeps: passes over all networks at most.
        init: where to begin, a permutation for each network.
        cache_bytes: memory for similarities; see `match_weights`.
        progress: called with a `Step` after every network; its group is empty.

    Returns:
        One permutation for each network; `converged` is False where `max_sweeps` ended the
        search.

    Raises:
        OneBasinError: when there are fewer than two networks, or they do not fit the
            symmetry; when `init` does not fit.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> others = [Permutation.random(symmetry, seed=seed).apply(a) for seed in (1, 2)]
        >>> moved = match_many(symmetry, [a, *others]).apply([a, *others])
        >>> all(torch.equal(params[name], a[name]) for params in moved for name in a)
        True
    """
    began = time.perf_counter()
    check_counts(CALL, max_sweeps=max_sweeps)
    check_seed(CALL, seed)
    check_amount(CALL, "cache_bytes", cache_bytes)
    gathering = Gathering(symmetry, params_list, init, call=CALL)
    run = Meeting(gathering, seed=seed, cache_bytes=cache_bytes, progress=progress)
    if init is None:
        run.come_together()
    converged = run.sweep_until_none_moves(max_sweeps)
    return ManyMatching(
        permutations=gathering.to_first(),
        objective=tuple(run.values),
        converged=converged,
        num_sweeps=run.num_sweeps,
        num_solves=run.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.values[-1],),
    )


class Meeting:
    """The moves that bring networks together.

    Args:
        gathering: the networks, where they begin; they move in it.
        seed: of the order of networks and of their groups.
        cache_bytes: see `match_weights`.
        progress: see `match_many`.
    """

    def __init__(
        self, gathering: Gathering, *, seed: int, cache_bytes: int, progress: Progress | None
    ) -> None:
        """Add the networks up."""
        self.gathering, self.seed, self.cache_bytes = gathering, seed, cache_bytes
        self.progress = progress
        self.rng = np.random.default_rng(seed)
        gathering.gather()
        self.values = [gathering.objective()]
        self.num_sweeps = self.num_solves = 0

    def come_together(self) -> None:
        """Match each network to the mean of those before it, if that is better than nothing."""
        gathering = self.gathering
        before = list(gathering.permutations)
        gathering.gather([0])
        for number in range(1, len(gathering)):
            gathering.permutations[number] = self._match(number, None).permutation
            gathering.enter(number)
            self._tell(number)
        found = gathering.objective()
        if found < self.values[-1]:
            gathering.permutations[:] = before
            gathering.gather()
            found = self.values[-1]
        self.values.append(found)

    def sweep_until_none_moves(self, max_sweeps: int) -> bool:
        """Sweep; return whether none moved in the last sweep."""
        for _ in range(max_sweeps):
            self.num_sweeps += 1
            before = list(self.gathering.permutations)
            moved = self._sweep()
            found = self.gathering.objective()
            if found <= self.values[-1]:
                self.gathering.permutations[:] = before
                return True
            self.values.append(found)
            if not moved:
                return True
        return False

    def _sweep(self) -> bool:
        moved = False
        for done, number in enumerate(self.rng.permutation(len(self.gathering))):
            number = int(number)
            matching = self._match(number, self.gathering.permutations[number])
            if matching.objective[-1] > matching.objective[0]:
                self.gathering.move(number, matching.permutation)
                moved = True
            self._tell(done + 1)
        return moved

    def _match(self, number: int, init: Permutation | None) -> Matching:
        gathering = self.gathering
        present = {name: gathering.unmoved(number, name) for name in gathering.names}
        matching = match_weights(
            gathering.symmetry,
            gathering.others(number),
            present,
            seed=self.seed,
            init=init,
            cache_bytes=self.cache_bytes,
        )
        self.num_solves += matching.num_solves
        return matching

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            total = len(self.gathering)
            self.progress(Step(0, self.num_sweeps, "", done, total, self.values[-1]))
