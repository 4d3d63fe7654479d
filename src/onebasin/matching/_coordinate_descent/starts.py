"""Starts: where a search begins.

`propagate` matches the trees one after the other, each to what is matched already, beginning
at those that touch inputs and outputs. `signatures` matches units by what no permutation of
other groups can change: the moments of their weights.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from onebasin._random import derive_seed
from onebasin.matching._coordinate_descent.descent import Descent
from onebasin.matching._coordinate_descent.pair import Survey
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key, View
from onebasin.symmetry.permutation import Permutation


def start_of(run: Descent, survey: Survey, init: Permutation | None, seed: int) -> None:
    """Put a search where a run begins.

    Args:
        run: gets its first objectives.
        survey: of both networks.
        init: where to begin, or None to choose by the number of the run.
        seed: of random starts.
    """
    search = run.search
    if init is not None:
        search.indices = dict(init.indices)
        run.values, run.pushes = [search.objective(search.indices)], []
        return
    unmoved = dict(Permutation.identity(search.symmetry).indices)
    search.indices = dict(unmoved)
    if run.number == 0:
        propagate(run, survey)
    elif run.number == 1:
        signatures(search)
    else:
        own = derive_seed(seed, f"start {run.number}")
        search.indices = dict(Permutation.random(search.symmetry, seed=own).indices)
    before, found = survey.value + search.linear_value(unmoved), search.objective(search.indices)
    if run.number == 0 and found <= before:
        search.indices, found = unmoved, before
        run.dirty = set(search.trees)
    run.values = [before, found]


def propagate(run: Descent, survey: Survey) -> None:
    """Match each tree once, by those of its rows whose other groups are matched already.

    The next tree is always the one with the greatest share of such rows.
    """
    search = run.search
    waiting = {root: _Waiting(views) for root, views in search.views.items()}
    known: set[str] = set()
    while waiting:
        root = max(waiting, key=lambda name: waiting[name].share)
        complete = waiting.pop(root).share == 1
        step = search.step(root, known=known)
        run.note(root, step, settled=complete and not search.judged[root])
        new = set(search.trees[root].members) - known
        known |= new
        for each in waiting.values():
            each.learn(new)
        run.tell(root, len(search.trees) - len(waiting), survey.value)


class _Waiting:
    """How much of a tree is held by groups that are not matched yet."""

    def __init__(self, views: list[View]) -> None:
        self.entries = Counter[frozenset[str]]()
        for view in views:
            self.entries[view.movable] += view.block.num_entries
        self.total = max(1, sum(self.entries.values()))
        self.holding: defaultdict[str, set[frozenset[str]]] = defaultdict(set)
        for held in self.entries:
            self._hold(held)

    @property
    def share(self) -> float:
        """Share of the entries that wait for nobody."""
        return self.entries[frozenset()] / self.total

    def learn(self, names: set[str]) -> None:
        """Wait for some groups no longer."""
        for held in {held for name in names for held in self.holding.pop(name, ())}:
            rest = held - names
            self.entries[rest] += self.entries.pop(held)
            for name in rest:
                self.holding[name].discard(held)
            self._hold(rest)

    def _hold(self, held: frozenset[str]) -> None:
        for name in held:
            self.holding[name].add(held)


def signatures(search: Search) -> None:
    """Match every tree by the moments of its units' weights."""
    for root in search.trees:
        sums = _signature_similarities(search, root)
        if sums:
            search.indices.update(search.solvers[root].solve(sums, search.indices))


def _signature_similarities(search: Search, root: str) -> dict[Key, Tensor]:
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
