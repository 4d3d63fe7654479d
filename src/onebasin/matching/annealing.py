"""Simulated annealing: the permutations of networks whose averages have the least loss.

Entezari et al. (2022), section 4: SA1 and SA2, for any number of networks. How a step's energy
is found, from full evaluation to a compiled correction, is `onebasin.matching._annealing`'s.
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
from onebasin.matching._annealing.cooling import Schedule
from onebasin.matching._annealing.examples import Energy, examples_of
from onebasin.matching._annealing.making import CACHE_BYTES, energy_at, walk_maker
from onebasin.matching._annealing.starts import Starts
from onebasin.matching._annealing.swaps import Move, columns_of
from onebasin.matching._annealing.walk import Orders
from onebasin.matching._checks import check_counts, check_seed
from onebasin.matching._coordinate_descent.gathering import Gathering
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
    r"""Find the permutation of B with the least energy halfway between A and B.

    Minimizes \(E(\tfrac12(\theta_A + P(\theta_B)))\) by simulated annealing, where E is the loss
    or the error on the data: a step swaps two random units of every group, and is taken where
    it changes E by \(\Delta \le 0\), or else with probability \(e^{-\Delta/T_k}\),
    \(T_k = T_0 (T_1/T_0)^{k/\text{steps}}\). The best permutation seen is returned.

    Networks of linear layers with ReLU between, recognized in the traced graph, compute from
    the swapped layer up; with one hidden layer a step is compiled (where numba is installed)
    and costs the rows of the swapped units. Others run the model anew every step. The default
    of 50,000 steps is meant for the compiled ones, which take seconds; deeper MLPs take an hour
    or more, and any other network the time of 50,000 passes over the data: pass fewer `steps`
    there, and fewer examples.

    Differs from the paper:
        - Any symmetry; what nests in a swapped unit moves along.
        - `schedule="calibrated"` sets the temperatures by how much steps change the energy;
          the published ones walk at random for most of the time.
        - The two units of a swap may be the same one: else the parities of all groups change
          together, and most permutations of several groups are out of reach.
        - It begins with the networks as they are, not at a random permutation.
        - `energy="loss"` by default: the error's steps are as coarse as the data is small.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference: parameters and buffers.
        params_b: what is moved: parameters and buffers.
        model: the architecture, as it was traced; its own parameters are not used.
        data: batches `(inputs, labels)`, read once and kept.
        energy: `loss` (cross-entropy) or `error` (share of wrong answers).
        normalization: whether BatchNorm uses the `interpolated` statistics or those of the
            `batch`; the latter for a network whose statistics will be reset.
        steps: of each start.
        schedule: `calibrated` or `published` (from 10,000 to 0.00001).
        move: whether a step swaps a pair in `every` group, or in `one` of them.
        restarts: walks with other random steps; the best one is returned. Compiled ones run
            side by side, on as many threads as torch has.
        init: where to begin, by default at the identity.
        seed: of the steps; the same seed gives the same permutation.
        cache_bytes: memory for the first layer's values on all examples.
        progress: called with a `Step` fifty times a start; `done` counts steps.

    Returns:
        The matching; its objective is the negative energy, never worse than where it began.
        Annealing ends by its number of steps, so `converged` is always False; `num_sweeps`
        are the steps that were tried.

    Raises:
        OneBasinError: when there is no labeled data, the model refuses a batch, a count is
            below one, tensors do not fit the symmetry, or the cache is too small.

    Example:
        >>> import torch
        >>> from onebasin import trace
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
    many = _anneal(symmetry, params_list, model, data, "all", first, options, "match_annealing")
    found = {name: value for name, value in vars(many).items() if name != "permutations"}
    return Matching(permutation=many.permutations[1], **found)


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
    r"""Find permutations of several networks whose averages have the least energy.

    With `averages="all"` (SA2) minimizes \(E(\tfrac1n \sum_i P_i(\theta_i))\), with "pairs"
    (SA1) the mean of \(E(\tfrac12(P_i(\theta_i) + P_j(\theta_j)))\) over all pairs, which is
    their mean barrier at the midpoint up to a constant. The first network stays where it is;
    a step swaps units in all others. For two networks both are `match_annealing`, which says
    what differs from the paper and what the other arguments are.

    Args:
        symmetry: of the architecture of all.
        params_list: two or more networks, the reference first: parameters and buffers.
        model: see `match_annealing`.
        data: see `match_annealing`.
        averages: `all` or `pairs`.
        energy: see `match_annealing`.
        normalization: see `match_annealing`.
        steps: see `match_annealing`.
        schedule: see `match_annealing`.
        move: see `match_annealing`.
        restarts: see `match_annealing`.
        init: where to begin, a permutation for each network.
        seed: see `match_annealing`.
        cache_bytes: see `match_annealing`.
        progress: see `match_annealing`.

    Returns:
        One permutation for each network, moved back by that of the first.

    Raises:
        OneBasinError: when there are fewer than two networks, and as `match_annealing`.
    """
    check_choice("match_many_annealing", "averages", averages, Averages)
    options = Options(
        energy, normalization, steps, schedule, move, restarts, seed, cache_bytes, progress
    )
    call = "match_many_annealing"
    return _anneal(symmetry, params_list, model, data, averages, init, options, call)


@dataclass(frozen=True)
class Options:
    """What both functions take; see `match_annealing`."""

    energy: Energy
    normalization: Normalization
    steps: int
    schedule: Schedule
    move: Move
    restarts: int
    seed: int
    cache_bytes: int
    progress: Progress | None

    def check(self, call: str) -> None:
        """Check what a user may get wrong."""
        check_choice(call, "schedule", self.schedule, Schedule)
        check_choice(call, "move", self.move, Move)
        check_counts(call, steps=self.steps, restarts=self.restarts)
        check_seed(call, self.seed)
        check_amount(call, "cache_bytes", self.cache_bytes)

    def tell(self, start: int, done: int, energy: float) -> None:
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
    call: str,
) -> ManyMatching:
    began = time.perf_counter()
    options.check(call)
    Gathering(symmetry, params_list, init, call=call)
    networks, count = [dict(params) for params in params_list], len(params_list)
    mixtures = (tuple(range(count)),) if averages == "all" else tuple(combinations(range(count), 2))
    examples = examples_of(
        model, data, options.energy, normalization=options.normalization, call=call
    )
    start: Orders = tuple(
        dict(each.indices) for each in init or [Permutation.identity(symmetry)] * count
    )
    energy_of = partial(energy_at, symmetry, networks, mixtures, examples)
    before = energy_of(start)
    make = walk_maker(symmetry, networks, mixtures, examples, cache_bytes=options.cache_bytes)
    columns = columns_of(symmetry, range(1, count))
    starts = Starts(make, start, columns, restarts=options.restarts, seed=options.seed)
    starts.anneal(options.steps, options.schedule, options.move, options.tell)
    ends = [energy_of(walk.best_orders) for walk in starts.walks]
    best = min(range(len(ends)), key=ends.__getitem__)
    after, orders = (ends[best], starts.walks[best].best_orders)
    if after > before:  # what the walk took for an improvement was rounding
        after, orders = before, start
    values = [-before, *(-value for value in starts.best[best])]
    return ManyMatching(
        permutations=_back(symmetry, orders),
        objective=(*(min(value, -after) for value in accumulate(values, max)), -after),
        converged=False,
        num_sweeps=options.steps if columns else 0,
        num_solves=0,
        seconds=time.perf_counter() - began,
        restarts=tuple(max(-end, -before) for end in ends),
    )


def _back(symmetry: Symmetry, orders: Orders) -> tuple[Permutation, ...]:
    """Return the permutations that leave the first network where it is."""
    first, *others = (Permutation(symmetry, order) for order in orders)
    back = first.inverse()
    return (Permutation.identity(symmetry), *(back @ other for other in others))
