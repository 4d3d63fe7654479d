"""MergeMany: any number of networks, each matched to the mean of the others.

Git Re-Basin (Ainsworth et al., 2023), Algorithm 2. Every step is one weight matching.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin.errors import check_amount
from onebasin.matching._checks import check_counts, check_seed
from onebasin.matching._coordinate_descent.network_set import NetworkSet
from onebasin.matching.result import ManyMatching, Matching, Progress, Step
from onebasin.matching.weights import CACHE_BYTES, match_weights
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


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
    r"""Find the permutations that minimize the distances between several networks.

    Maximizes \(\sum_{i<j} \langle P_i(\theta_i), P_j(\theta_j) \rangle\), which minimizes the
    squared distances of all pairs. One network after another is matched to the mean of the
    others, in random order, until none moves. The objective never decreases.

    Differs from the paper:
        - The initialization adds the networks one by one, each matched to the mean of the
          previous ones. The mean of unmatched networks is not close to any network.
        - Each step is `match_weights` with its improvements over the paper. After the
          initialization it starts at the current permutation.
        - The result is relative to the first network, which is not permuted.

    Memory: two networks in addition to the inputs.

    Args:
        symmetry: symmetry of the architecture.
        params_list: two or more networks, the reference first. Buffers may be missing.
        seed: random seed for the order of networks and groups.
        max_sweeps: maximum number of passes over all networks.
        init: initial permutation of each network.
        cache_bytes: memory for similarities; see `match_weights`.
        progress: callback with a `Step` after every network; its group is empty.

    Returns:
        One permutation for each network; `converged` is False if `max_sweeps` was reached.

    Raises:
        OneBasinError: there are fewer than two networks, or they or `init` do not match the
            symmetry.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
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
    check_counts(max_sweeps=max_sweeps)
    check_seed(seed)
    check_amount("cache_bytes", cache_bytes)
    network_set = NetworkSet(symmetry, params_list, init)
    run = MergeManySolver(network_set, seed=seed, cache_bytes=cache_bytes, progress=progress)
    if init is None:
        run.initialize()
    converged = run.run(max_sweeps)
    return ManyMatching(
        permutations=network_set.relative_to_first(),
        objective=tuple(run.values),
        converged=converged,
        num_sweeps=run.num_sweeps,
        num_solves=run.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.values[-1],),
    )


class MergeManySolver:
    """Coordinate descent over networks.

    Args:
        network_set: the networks with their initial permutations, which are updated.
        seed: random seed for the order of networks and groups.
        cache_bytes: see `match_weights`.
        progress: see `match_many`.
    """

    def __init__(
        self, network_set: NetworkSet, *, seed: int, cache_bytes: int, progress: Progress | None
    ) -> None:
        """Compute the sum of the networks."""
        self.network_set, self.seed, self.cache_bytes = network_set, seed, cache_bytes
        self.progress = progress
        self.rng = np.random.default_rng(seed)
        network_set.sum_up()
        self.values = [network_set.objective()]
        self.num_sweeps = self.num_solves = 0

    def initialize(self) -> None:
        """Match each network to the mean of the previous ones, if the objective improves."""
        network_set = self.network_set
        before = list(network_set.permutations)
        network_set.sum_up([0])
        for number in range(1, len(network_set)):
            network_set.permutations[number] = self._match(number, None).permutation
            network_set.add(number)
            self._report(number)
        value = network_set.objective()
        if value < self.values[-1]:
            network_set.permutations[:] = before
            network_set.sum_up()
            value = self.values[-1]
        self.values.append(value)

    def run(self, max_sweeps: int) -> bool:
        """Sweep until no network moves; return whether the search converged."""
        for _ in range(max_sweeps):
            self.num_sweeps += 1
            before = list(self.network_set.permutations)
            moved = self._sweep()
            value = self.network_set.objective()
            if value <= self.values[-1]:
                self.network_set.permutations[:] = before
                return True
            self.values.append(value)
            if not moved:
                return True
        return False

    def _sweep(self) -> bool:
        moved = False
        for done, number in enumerate(self.rng.permutation(len(self.network_set))):
            number = int(number)
            matching = self._match(number, self.network_set.permutations[number])
            if matching.objective[-1] > matching.objective[0]:
                self.network_set.move(number, matching.permutation)
                moved = True
            self._report(done + 1)
        return moved

    def _match(self, number: int, init: Permutation | None) -> Matching:
        network_set = self.network_set
        present = {name: network_set.unmoved(number, name) for name in network_set.names}
        matching = match_weights(
            network_set.symmetry,
            network_set.mean_of_others(number),
            present,
            seed=self.seed,
            init=init,
            cache_bytes=self.cache_bytes,
        )
        self.num_solves += matching.num_solves
        return matching

    def _report(self, done: int) -> None:
        if self.progress is not None:
            total = len(self.network_set)
            self.progress(Step(0, self.num_sweeps, "", done, total, self.values[-1]))
