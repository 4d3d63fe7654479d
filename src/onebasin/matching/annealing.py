"""Simulated annealing: minimize the loss of averages of networks by random swaps.

Entezari et al. (2022), section 4: SA1 and SA2, for any number of networks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, combinations
from typing import Any, Literal

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import check_amount, check_choice
from onebasin.matching._annealing.evaluated import Energy, examples_of
from onebasin.matching._annealing.factory import CACHE_BYTES, energy_at, state_factory
from onebasin.matching._annealing.runs import AnnealingRuns, Schedule
from onebasin.matching._annealing.state import Move, NetworkIndices, columns_of
from onebasin.matching._checks import check_counts, check_seed
from onebasin.matching._coordinate_descent.network_set import NetworkSet
from onebasin.matching._losses import Normalization
from onebasin.matching.result import ManyMatching, Matching, Progress, Step
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

Averages = Literal["all", "pairs"]


@checks_arguments
def match_annealing(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    model: nn.Module,
    data: Iterable[Any],
    energy: Energy = "loss",
    normalization: Normalization = "interpolated",
    steps: int = 50_000,
    schedule: Schedule = "calibrated",
    move: Move = "every",
    restarts: int = 1,
    init: Permutation | None = None,
    seed: int = 0,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the permutation of B with the lowest energy at the midpoint between A and B.

    Minimizes \(E(\tfrac12(\theta_A + P(\theta_B)))\) by simulated annealing, where E is the loss
    or the error on the data. A step swaps two random units of every group. It is accepted if
    it changes E by \(\Delta \le 0\), otherwise with probability \(e^{-\Delta/T_k}\),
    \(T_k = T_0 (T_1/T_0)^{k/\text{steps}}\). The best permutation is returned.

    Networks of linear layers with ReLU are recognized in the traced graph and recomputed from
    the swapped layer up. With one hidden layer and numba installed, a step is compiled and
    reads only the swapped units. All other models run on all data in every step. The default
    of 50,000 steps suits compiled networks, which take seconds. Deeper MLPs take an hour or
    more, and other models the time of 50,000 passes over the data; pass fewer `steps` and
    examples.

    Differs from the paper:
        - Supports any symmetry; nested units move with a swapped unit.
        - `schedule="calibrated"` scales the temperatures by the changes of the energy. With
          the published temperatures, most steps are a random walk.
        - The two units of a swap may be equal. Otherwise the parities of all groups change
          together, and most permutations of several groups cannot be reached.
        - The search starts at the identity, not at a random permutation.
        - `energy="loss"` by default: the error is too coarse on small data.

    Args:
        symmetry: symmetry of the architecture.
        params_a: parameters and buffers of A, the reference.
        params_b: parameters and buffers of B, the network to permute.
        model: the traced architecture; its own parameters are ignored.
        data: batches `(inputs, labels)`, read once and kept in memory.
        energy: `loss` (cross-entropy) or `error` (fraction of wrong answers).
        normalization: whether BatchNorm uses the `interpolated` statistics or those of the
            `batch`. Use `batch` if the statistics will be reset afterwards.
        steps: number of steps of each start.
        schedule: `calibrated` or `published` (from 10,000 to 0.00001).
        move: whether a step swaps a pair in `every` group, or in `one` of them.
        restarts: number of starts with different random steps; the best one is returned.
            Compiled ones run in parallel on torch's number of threads.
        init: the initial permutation, by default the identity.
        seed: random seed of the steps; the same seed gives the same permutation.
        cache_bytes: memory for the first layer's values on all examples.
        progress: callback with a `Step` fifty times per start; `done` counts steps.

    Returns:
        The matching. Its objective is the negative energy, which is never worse than the
        initial one. Annealing always runs all steps, so `converged` is False and `num_sweeps`
        is the number of steps.

    Raises:
        OneBasinError: the data have no labels, the model fails on a batch, a count is below
            one, tensors do not match the symmetry, or the cache is too small.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> data = [(x, net(x).argmax(1))]
        >>> symmetry = infer_symmetry(net, x)
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> matching = match_annealing(symmetry, a, b, model=net, data=data, steps=200)
        >>> matching.objective[-1] >= matching.objective[0]
        True
    """
    options = Options(
        energy, normalization, steps, schedule, move, restarts, seed, cache_bytes, progress
    )
    first = None if init is None else [Permutation.identity(symmetry), init]
    params_list = [params_a, params_b]
    many = _anneal(symmetry, params_list, model, data, "all", first, options)
    own = ("permutations", "elements")
    fields = {name: value for name, value in vars(many).items() if name not in own}
    return Matching(permutation=many.permutations[1], **fields)


@checks_arguments
def match_many_annealing(
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    *,
    model: nn.Module,
    data: Iterable[Any],
    averages: Averages = "all",
    energy: Energy = "loss",
    normalization: Normalization = "interpolated",
    steps: int = 50_000,
    schedule: Schedule = "calibrated",
    move: Move = "every",
    restarts: int = 1,
    init: Sequence[Permutation] | None = None,
    seed: int = 0,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> ManyMatching:
    r"""Find permutations of several networks whose averages have the lowest energy.

    With `averages="all"` (SA2) minimizes \(E(\tfrac1n \sum_i P_i(\theta_i))\). With "pairs" (SA1)
    it minimizes the mean of \(E(\tfrac12(P_i(\theta_i) + P_j(\theta_j)))\) over all pairs, which
    is their mean barrier at the midpoint up to a constant. The first network is fixed; a step
    swaps units in all others. For two networks both equal `match_annealing`, which documents the
    differences from the paper.

    Args:
        symmetry: symmetry of the architecture.
        params_list: parameters and buffers of two or more networks, the reference first.
        model: see `match_annealing`.
        data: see `match_annealing`.
        averages: `all` or `pairs`.
        energy: see `match_annealing`.
        normalization: see `match_annealing`.
        steps: see `match_annealing`.
        schedule: see `match_annealing`.
        move: see `match_annealing`.
        restarts: see `match_annealing`.
        init: initial permutation of each network.
        seed: see `match_annealing`.
        cache_bytes: see `match_annealing`.
        progress: see `match_annealing`.

    Returns:
        One permutation for each network, relative to the first.

    Raises:
        OneBasinError: there are fewer than two networks, or for the reasons of
            `match_annealing`.
    """
    check_choice("averages", averages, Averages)
    options = Options(
        energy, normalization, steps, schedule, move, restarts, seed, cache_bytes, progress
    )
    return _anneal(symmetry, params_list, model, data, averages, init, options)


@dataclass(frozen=True)
class Options:
    """Common options of both functions; see `match_annealing`."""

    energy: Energy
    normalization: Normalization
    steps: int
    schedule: Schedule
    move: Move
    restarts: int
    seed: int
    cache_bytes: int
    progress: Progress | None

    def check(self) -> None:
        """Check the options."""
        check_choice("schedule", self.schedule, Schedule)
        check_choice("move", self.move, Move)
        check_counts(steps=self.steps, restarts=self.restarts)
        check_seed(self.seed)
        check_amount("cache_bytes", self.cache_bytes)

    def report(self, start: int, done: int, energy: float) -> None:
        """Report progress."""
        if self.progress is not None:
            self.progress(Step(start, 1, "", done, self.steps, -energy))


def _anneal(
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    model: nn.Module,
    data: Iterable[Any],
    averages: Averages,
    init: Sequence[Permutation] | None,
    options: Options,
) -> ManyMatching:
    began = time.perf_counter()
    options.check()
    NetworkSet(symmetry, params_list, init)
    networks, count = [dict(params) for params in params_list], len(params_list)
    mixtures = (tuple(range(count)),) if averages == "all" else tuple(combinations(range(count), 2))
    examples = examples_of(model, data, options.energy, normalization=options.normalization)
    start: NetworkIndices = tuple(
        dict(each.indices) for each in init or [Permutation.identity(symmetry)] * count
    )
    energy_of = partial(energy_at, symmetry, networks, mixtures, examples)
    before = energy_of(start)
    make = state_factory(symmetry, networks, mixtures, examples, cache_bytes=options.cache_bytes)
    columns = columns_of(symmetry, range(1, count))
    starts = AnnealingRuns(make, start, columns, restarts=options.restarts, seed=options.seed)
    starts.anneal(options.steps, options.schedule, options.move, options.report)
    ends = [energy_of(state.best_indices) for state in starts.states]
    best = min(range(len(ends)), key=ends.__getitem__)
    after, indices = (ends[best], starts.states[best].best_indices)
    if after > before:  # the improvement was a rounding error
        after, indices = before, start
    values = [-before, *(-value for value in starts.best[best])]
    return ManyMatching(
        permutations=_relative_to_first(symmetry, indices),
        objective=(*(min(value, -after) for value in accumulate(values, max)), -after),
        converged=False,
        num_sweeps=options.steps if columns else 0,
        num_solves=0,
        seconds=time.perf_counter() - began,
        restarts=tuple(max(-end, -before) for end in ends),
    )


def _relative_to_first(symmetry: Symmetry, indices: NetworkIndices) -> tuple[Permutation, ...]:
    """Return the permutations relative to that of the first network."""
    first, *others = (Permutation(symmetry, index) for index in indices)
    back = first.inverse()
    return (Permutation.identity(symmetry), *(back @ other for other in others))
