"""Weight matching: the permutation of B whose weights are most like A's.

Git Re-Basin (Ainsworth et al., 2023), section 3.2: coordinate descent over groups, one
linear assignment problem at a time, for any symmetry: nested and quadratic groups too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.matching.matching import Matching, Progress, Step
from onebasin.matching.search import Search
from onebasin.matching.sources import Sources
from onebasin.symmetry import Permutation, Symmetry

RELATED = 0.25
"""Networks are related when a greedy pass gains this share of what could be gained at all."""


def match_weights(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    seed: int = 0,
    max_sweeps: int = 100,
    restarts: int = 1,
    init: Permutation | None = None,
    progress: Progress | None = None,
) -> Matching:
    """Find the permutation of B that is closest to A in weight space.

    Maximises `<A, P(B)>` over the symmetry, which minimises `|A - P(B)|`: one group at a
    time, in random order, until none improves. Tied tensors count once, buffers do not.

    Differs from the paper:
        - Any symmetry: units nested in others are assigned within every pair of outer
          units, and that sum is the outer similarity; a group on two dimensions of one
          tensor is linearised and a step taken only if the objective rises.
        - Similarities are cached and corrected for the units that moved.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference; any mapping, read when needed.
        params_b: what is moved; shapes as in A.
        seed: of the order of the groups; the same seed gives the same permutation.
        max_sweeps: passes over all groups at most.
        restarts: number of starts; the best is returned. The first is `init` or the
            identity, unless the networks are related: then the groups are matched greedily
            first, each to what is matched already. So does the second; others are random.
        init: where to start.
        progress: called with a `Step` after every group.

    Returns:
        The matching; `converged` is False where `max_sweeps` ended the search.

    Raises:
        OneBasinError: when tensors are missing, have other shapes, are not real numbers,
            or are not finite; when a count is below one.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> symmetry = trace(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_weights(symmetry, a, b).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    if max_sweeps < 1 or restarts < 1:
        raise OneBasinError(
            f"match_weights: max_sweeps and restarts must be at least 1, not {max_sweeps} and "
            f"{restarts}"
        )
    began = time.perf_counter()
    sources = Sources(symmetry, params_a, params_b)
    search = Search(symmetry, sources)
    runs = []
    for number in range(restarts):
        run = _Run(search, np.random.default_rng([seed, number]), number, progress)
        run.objective += _begin(search, sources, init, number, seed)
        run.descend(max_sweeps)
        runs.append((run.objective[-1], dict(search.indices), run))
    _, indices, best = max(runs, key=lambda entry: entry[0])
    return Matching(
        permutation=Permutation(symmetry, indices),
        objective=tuple(best.objective),
        converged=best.converged,
        num_sweeps=best.num_sweeps,
        num_solves=search.num_solves,
        seconds=time.perf_counter() - began,
        restarts=tuple(value for value, _, _ in runs),
    )


def _begin(
    search: Search, sources: Sources, init: Permutation | None, number: int, seed: int
) -> list[float]:
    """Put the search at one of its starts; return the objective on the way there.

    The first start is where the groups, matched greedily, already take a good share of what
    can be gained: the networks are related. Else it is `init` or the identity. The second
    is the greedy one, all others are random.
    """
    if number >= 2:
        start = Permutation.random(search.symmetry, seed=seed + number)
        search.start(start.indices)
        return [sources.objective(start)]
    first = init if init is not None else Permutation.identity(search.symmetry)
    search.start(first.indices)
    value = sources.objective(init)
    if number == 0 and init is not None:
        return [value]
    search.propagate()
    greedy = sources.objective(Permutation(search.symmetry, search.indices))
    if number == 1:
        return [greedy]
    if greedy - value > RELATED * (sources.bound - value):
        return [value, greedy]
    search.start(first.indices)
    return [value]


class _Run:
    """One start of the search, and the trace of its objective."""

    def __init__(
        self, search: Search, rng: np.random.Generator, number: int, progress: Progress | None
    ) -> None:
        self.search, self.rng, self.number, self.progress = search, rng, number, progress
        self.names = list(search.symmetry.groups)
        self.objective: list[float] = []
        self.converged, self.num_sweeps = False, 0

    def descend(self, max_sweeps: int) -> None:
        """Sweep over all groups until none improves."""
        for sweep in range(max_sweeps):
            self.num_sweeps += 1
            for done, place in enumerate(self.rng.permutation(len(self.names))):
                name = self.names[place]
                if name in self.search.dirty:
                    gain = self.search.step(name)
                    if gain > 0:
                        self.objective.append(self.objective[-1] + gain)
                self._tell(sweep, name, done + 1)
            if not self.search.dirty:
                self.converged = True
                return

    def _tell(self, sweep: int, group: str, done: int) -> None:
        if self.progress is not None:
            value = self.objective[-1]
            step = Step(self.number, sweep, group, done, len(self.names), value)
            self.progress(step)
