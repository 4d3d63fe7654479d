"""Coordinate descent from several starts.

`greedy_init` matches the trees one after the other to the matched ones, beginning at the inputs
and outputs. `match_by_moments` matches units by the moments of their weights, which no
permutation of other groups changes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from time import perf_counter

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from onebasin._random import derive_seed
from onebasin.errors import check_amount
from onebasin.matching._coordinate_descent.descent import Descent
from onebasin.matching._coordinate_descent.pair import Pair, PairStats
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key, View
from onebasin.matching.result import Matching, Progress
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


def initialize(run: Descent, stats: PairStats, init: Permutation | None, seed: int) -> None:
    """Set the initial permutation of a run.

    Args:
        run: the run; its first objective values are set.
        stats: statistics of both networks.
        init: the initial permutation, or None to choose it by the number of the run.
        seed: random seed for random starts.
    """
    search = run.search
    if init is not None:
        search.indices = dict(init.indices)
        run.values, run.perturbations = [search.objective(search.indices)], []
        return
    unmoved = dict(Permutation.identity(search.symmetry).indices)
    search.indices = dict(unmoved)
    if run.number == 0:
        greedy_init(run, stats)
    elif run.number == 1:
        match_by_moments(search)
    else:
        own = derive_seed(seed, f"start {run.number}")
        search.indices = dict(Permutation.random(search.symmetry, seed=own).indices)
    before, value = stats.value + search.linear_value(unmoved), search.objective(search.indices)
    if run.number == 0 and value <= before:
        search.indices, value = unmoved, before
        run.dirty = set(search.trees)
    run.values = [before, value]


def greedy_init(run: Descent, stats: PairStats) -> None:
    """Match each tree once, by the rows whose other groups are matched.

    The next tree is the one with the largest fraction of such rows.
    """
    search = run.search
    pending = {root: _Pending(views) for root, views in search.views.items()}
    known: set[str] = set()
    while pending:
        root = max(pending, key=lambda name: pending[name].resolved_fraction)
        complete = pending.pop(root).resolved_fraction == 1
        step = search.step(root, known=known)
        run.mark_dirty(root, step, converged=complete and not search.is_nonlinear[root])
        new = set(search.trees[root].members) - known
        known |= new
        for each in pending.values():
            each.resolve(new)
        run.report(root, len(search.trees) - len(pending), stats.value)


class _Pending:
    """Number of entries of a tree whose other groups are not matched yet."""

    def __init__(self, views: list[View]) -> None:
        self.entries = Counter[frozenset[str]]()
        for view in views:
            self.entries[view.movable] += view.block.num_entries
        self.total = max(1, sum(self.entries.values()))
        self.waiting_for: defaultdict[str, set[frozenset[str]]] = defaultdict(set)
        for held in self.entries:
            self._add_dependencies(held)

    @property
    def resolved_fraction(self) -> float:
        """Fraction of the entries whose other groups are matched."""
        return self.entries[frozenset()] / self.total

    def resolve(self, names: set[str]) -> None:
        """Mark some groups as matched."""
        for held in {held for name in names for held in self.waiting_for.pop(name, ())}:
            rest = held - names
            self.entries[rest] += self.entries.pop(held)
            for name in rest:
                self.waiting_for[name].discard(held)
            self._add_dependencies(rest)

    def _add_dependencies(self, held: frozenset[str]) -> None:
        for name in held:
            self.waiting_for[name].add(held)


def match_by_moments(search: Search) -> None:
    """Match every tree by the moments of its units' weights."""
    for root in search.trees:
        sums = _moment_similarities(search, root)
        if sums:
            search.indices.update(search.solvers[root].solve(sums, search.indices))


def _moment_similarities(search: Search, root: str) -> dict[Key, Tensor]:
    """Return minus the squared distance of the units' moments, scaled to variance one."""
    features: dict[Key, list[tuple[Tensor, Tensor]]] = {}
    name, tensors = "", None
    for view in search.views[root]:
        if tensors is None or view.tensor != name:
            name, tensors = view.tensor, search.pair.read(view.tensor)
        num_outer = view.key.num_outer(search.trees[root])
        a, b = (_moments(view.arrange(tensor), num_outer) for tensor in tensors)
        features.setdefault(view.key, []).append((a, b))
    sums = {}
    for key, pairs in features.items():
        a, b = (torch.cat(side, dim=-1) for side in zip(*pairs, strict=True))
        scale = torch.cat((a, b), dim=1).std(dim=1, keepdim=True).clamp(min=1e-12)
        sums[key] = -(torch.cdist(a / scale, b / scale) ** 2).to(search.pair.dtype)
    return sums


def _moments(
    rows: Float[Tensor, "r f n"], num_outer: int
) -> Float64[Tensor, "{num_outer} n moments"]:
    """Return sums of powers of all entries of every unit."""
    entries = rows.double().reshape(num_outer, -1, rows.shape[-1])
    size = entries.abs().mean().clamp(min=1e-300)
    entries = entries / size
    powers = [entries, entries.square(), entries**3, entries.abs()]
    return torch.stack([power.sum(dim=1) for power in powers], dim=-1)


MORE_STARTS = 4
"""Maximum number of starts if B must be a permuted A but no start has found the permutation."""


def begin_search(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    cache_bytes: int,
    call: str,
) -> tuple[Search, PairStats]:
    """Return a search for two checked networks, at the identity.

    Args:
        symmetry: symmetry of the architecture.
        params_a: the reference network.
        params_b: the network to permute.
        cache_bytes: memory for similarities of weights.
        call: name of the public function, for messages.

    Raises:
        OneBasinError: tensors do not match the symmetry or are not finite, or `cache_bytes` is
            invalid.
    """
    check_amount(call, "cache_bytes", cache_bytes)
    pair = Pair(symmetry, params_a, params_b, call=call)
    stats = pair.compute_stats()
    search = Search(symmetry, pair, cache_bytes=cache_bytes)
    search.indices = dict(Permutation.identity(symmetry).indices)
    return search, stats


def descend_from_starts(
    search: Search,
    stats: PairStats,
    *,
    began: float,
    seed: int,
    max_sweeps: int,
    restarts: int,
    init: Permutation | None,
    progress: Progress | None,
) -> Matching:
    """Return the best of several descents.

    Args:
        search: the search over the trees of both networks.
        stats: statistics of both networks. Starts are added if B must be a permuted A.
        began: start time of the matcher, from `time.perf_counter`.
        seed: random seed for the order of trees and for random starts.
        max_sweeps: maximum number of sweeps of each descent.
        restarts: number of starts.
        init: the first start, or None for the default.
        progress: callback after every tree.
    """
    runs: list[Descent] = []
    while len(runs) < restarts or (len(runs) < MORE_STARTS and _missed(search, stats, runs)):
        number = len(runs)
        run = Descent(search, seed=seed, number=number, total=max_sweeps, progress=progress)
        initialize(run, stats, init if number == 0 else None, seed)
        run.descend()
        runs.append(run)
    best = max(runs, key=lambda run: run.value)
    return Matching(
        permutation=Permutation(search.symmetry, best.indices),
        objective=best.trace(),
        converged=best.converged,
        num_sweeps=best.num_sweeps,
        num_solves=search.num_solves,
        seconds=perf_counter() - began,
        restarts=tuple(run.value for run in runs),
    )


def _missed(search: Search, stats: PairStats, runs: list[Descent]) -> bool:
    """Return whether B must be a permuted A and no start has found the permutation."""
    reached = max(run.value - search.linear_value(run.indices) for run in runs)
    return stats.alike and reached < stats.bound * (1 - 1e-6)
