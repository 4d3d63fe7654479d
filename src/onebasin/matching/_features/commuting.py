"""Commuting: how far layers of A and moved B are from commuting, and descent on it.

With D = W_A - W and K = E[(h_A - h)(h_A - h)'], W and h being B's, moved, a layer adds
tr(D K D'). On permutations this is linear in the order of the units that it makes, and
quadratic in the order of those that it reads; the matrices here are minus half its slope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from onebasin.matching._coordinate_descent.search import HOLDS, Search
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree
from onebasin.matching._features.sides import LayerOfBoth
from onebasin.matching.result import Progress, Step


class CommutingLayer(LayerOfBoth):
    """A layer of both networks, and how far they are from commuting."""

    def __post_init__(self) -> None:
        """Keep what is needed of the weights and the inputs."""
        super().__post_init__()
        # A bias is the same for both inputs and drops out: the row of ones is not needed.
        self.aa, self.bb, self.ab = (
            each[:-1, :-1].cpu() for each in (self.moments.aa, self.moments.bb, self.moments.ab)
        )
        dtype = self.aa.dtype
        self.w_a = self.layer.matrix(self.params_a).cpu().to(dtype)
        self.w_b = self.layer.matrix(self.params_b).cpu().to(dtype)
        energy = (self.w_a @ self.aa * self.w_a).sum() + (self.w_b @ self.bb * self.w_b).sum()
        self.scale = 2 / float(energy) if float(energy) > 0 else 0.0

    def value(self, indices: Indices) -> float:
        """Return what the layer adds to the sum."""
        w, bb, ab = self._moved(indices)
        difference = self.w_a - w
        kernel = self.aa + bb - ab - ab.T
        found = float((difference @ kernel * difference).sum(dtype=torch.float64))
        return self.scale * max(0.0, found)

    def add(self, sums: dict[Key, Tensor], tree: Tree, indices: Indices) -> None:
        """Add minus half the slope to the similarities of a tree."""
        w, bb, ab = self._moved(indices)
        members = frozenset(tree.members)
        if self.made & members:
            kernel = self.aa + bb - ab - ab.T
            self.sides.add(sums, tree, self.out, self.scale * (self.w_a @ kernel @ w.T), indices)
        if self.read & members:
            square_a, square_b, cross = self.w_a.T @ self.w_a, w.T @ w, self.w_a.T @ w
            slope = square_a @ (ab - bb) + self.aa @ (cross - square_b)
            slope += cross @ (bb - ab) + ab @ (square_b - cross)
            self.sides.add(sums, tree, self.inner, self.scale * slope, indices)

    def _moved(
        self, indices: Indices
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "d d"], Float[Tensor, "d d"]]:
        out, inner = (self.sides.sources(side, indices) for side in (self.out, self.inner))
        return self.w_b[out][:, inner], self.bb[inner][:, inner], self.ab[:, inner]


@dataclass
class CommutingRun:
    """What became of one start.

    Args:
        indices: of all groups.
        values: minus the sum, at the start and after every sweep.
        converged: whether no tree can be moved any more.
    """

    indices: dict[str, Tensor]
    values: list[float]
    converged: bool = False


class CommutingDescent:
    """Coordinate descent on the sum over layers.

    Args:
        search: has the trees and their solvers.
        layers: that count.
        seed: of the order of the trees.
        max_sweeps: at most, in a run.
    """

    def __init__(
        self,
        search: Search,
        layers: Sequence[CommutingLayer],
        *,
        seed: int,
        max_sweeps: int,
    ) -> None:
        self.search, self.layers, self.max_sweeps = search, layers, max_sweeps
        self.rng = np.random.default_rng(seed)
        self.num_solves = 0

    def run(self, start: Indices, number: int, progress: Progress | None) -> CommutingRun:
        """Descend from a start.

        Args:
            start: indices of all groups.
            number: of the start, from 0.
            progress: called after every tree.
        """
        now = {layer.inner: layer.value(start) for layer in self.layers}
        run = CommutingRun(dict(start), [-sum(now.values())])
        roots = list(self.search.trees)
        while len(run.values) <= self.max_sweeps and not run.converged:
            moved = False
            for done, place in enumerate(self.rng.permutation(len(roots)), start=1):
                moved |= self._step(roots[place], run, now)
                if progress is not None:
                    sweep, value = len(run.values), -sum(now.values())
                    progress(Step(number, sweep, roots[place], done, len(roots), value))
            run.converged = not moved
            run.values.append(-sum(now.values()))
        return run

    def _step(self, root: str, run: CommutingRun, now: dict[str, float]) -> bool:
        """Move one tree if the sum falls; return whether it moved."""
        tree = self.search.trees[root]
        members = frozenset(tree.members)
        near = [layer for layer in self.layers if (layer.made | layer.read) & members]
        sums: dict[Key, Tensor] = {}
        for layer in near:
            layer.add(sums, tree, run.indices)
        before = sum(now[layer.inner] for layer in near)
        for hold in HOLDS if sums else ():
            self.num_solves += 1
            found = run.indices | self.search.solvers[root].solve(sums, run.indices, hold)
            if all(torch.equal(found[name], run.indices[name]) for name in tree.members):
                return False
            values = {layer.inner: layer.value(found) for layer in near}
            if sum(values.values()) < before * (1 - 1e-6):
                run.indices = found
                now.update(values)
                return True
        return False
