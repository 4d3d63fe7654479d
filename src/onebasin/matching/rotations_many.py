"""Matching of several networks by all maps of a symmetry, each to the mean of the others."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin.errors import check_amount
from onebasin.matching._checks import check_counts, check_seed
from onebasin.matching._coordinate_descent.network_set import checked_pairs
from onebasin.matching.result import ManyMatching, Progress, Step
from onebasin.matching.rotations import match_rotations
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation


@checks_arguments
def match_many_rotations(
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    *,
    seed: int = 0,
    max_sweeps: int = 10,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> ManyMatching:
    """Find the transformations that minimize the distances between several networks.

    Each network is matched to the mean of the previous ones by `match_rotations`, then to the mean
    of all others, as in MergeMany (Git Re-Basin, Algorithm 2). The first network does not change. A
    sweep that does not reduce the sum of the squared distances of all pairs is undone.

    Memory: all networks, in addition to the inputs.

    Args:
        symmetry: symmetry of the architecture, with the classes of its groups.
        params_list: two or more networks with buffers, the reference first.
        seed: random seed for the order of groups.
        max_sweeps: maximum number of passes over all networks.
        cache_bytes: memory for similarities; see `match_rotations`.
        progress: callback with a `Step` after every network; its group is empty.

    Returns:
        One transformation for each network. The objective is minus the sum of the squared
        distances of all pairs.

    Raises:
        OneBasinError: there are fewer than two networks, or they do not match the symmetry.
    """
    began = time.perf_counter()
    check_counts(max_sweeps=max_sweeps)
    check_seed(seed)
    check_amount("cache_bytes", cache_bytes)
    checked_pairs(symmetry, params_list)
    run = _Run(symmetry, params_list, seed, cache_bytes, progress)
    converged = run.sweep_until_best(max_sweeps)
    return ManyMatching(
        permutations=tuple(each.permutation for each in run.transformations),
        elements=tuple(run.transformations),
        objective=tuple(run.values),
        converged=converged,
        num_sweeps=len(run.values) - 1,
        num_solves=run.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.values[-1],),
    )


@dataclass
class _Run:
    """The networks, and the transformations found so far."""

    symmetry: Symmetry
    params_list: Sequence[Mapping[str, Tensor]]
    seed: int
    cache_bytes: int
    progress: Progress | None
    num_solves: int = 0
    values: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Match each network to the mean of the previous ones."""
        identity = Transformation.identity(self.symmetry)
        self.transformations = [identity] * len(self.params_list)
        self.moved = [dict(params) for params in self.params_list]
        self.values.append(self._value())
        before = list(self.transformations), list(self.moved)
        for number in range(1, len(self.moved)):
            self._match(number, self.moved[:number])
        self._accept(before)

    def sweep_until_best(self, max_sweeps: int) -> bool:
        """Match each network to the mean of the others until the distances stay equal."""
        if len(self.moved) == 2:
            return True
        for _ in range(max_sweeps):
            before = list(self.transformations), list(self.moved)
            for number in range(1, len(self.moved)):
                self._match(number, [m for i, m in enumerate(self.moved) if i != number])
            if not self._accept(before):
                return True
        return False

    def _match(self, number: int, others: Sequence[Mapping[str, Tensor]]) -> None:
        params = self.params_list[number]
        mean = {name: _mean([each[name] for each in others]) for name in others[0]}
        matching = match_rotations(
            self.symmetry, mean, params, seed=self.seed, cache_bytes=self.cache_bytes
        )
        self.num_solves += matching.num_solves
        self.transformations[number] = matching.transformation
        self.moved[number] = matching.transformation.apply(params)
        if self.progress is not None:
            total = len(self.moved) - 1
            self.progress(Step(0, len(self.values) - 1, "", number, total, self.values[-1]))

    def _accept(self, before: tuple[list[Transformation], list[dict[str, Tensor]]]) -> bool:
        """Keep the new transformations if they reduce the distances; return whether they do."""
        value = self._value()
        better = value > self.values[-1]
        if better:
            self.values.append(value)
        else:
            self.transformations, self.moved = before
        return better

    def _value(self) -> float:
        """Return minus the sum of the squared distances of all pairs, in float64."""
        total = 0.0
        for name, first in self.moved[0].items():
            if first.is_floating_point() and name not in self.symmetry.buffers:
                rows = torch.stack([each[name].double().flatten() for each in self.moved])
                total += float((len(rows) * rows.square().sum(0) - rows.sum(0).square()).sum())
        return -total


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0]
    return torch.stack(list(tensors)).mean(0)
