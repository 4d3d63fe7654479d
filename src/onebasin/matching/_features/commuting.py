"""Coordinate descent on the commutativity of the layers of A and permuted B.

With D = W_A - W and K = E[(h_A - h)(h_A - h)'], where W and h are those of permuted B, a layer
adds tr(D K D'). This is linear in the order of its output units and quadratic in the order of
its input units. The similarities are minus half its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from onebasin.matching._coordinate_descent.search import DAMPING, Search
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree
from onebasin.matching._features.layer_axes import LayerPair
from onebasin.matching.result import Progress, Step


class CommutingLayer(LayerPair):
    """A layer of both networks and its commutator."""

    def __post_init__(self) -> None:
        """Compute the weights and moments."""
        super().__post_init__()
        # A bias cancels, so the row of ones is not needed.
        self.aa, self.bb, self.ab = (
            each[:-1, :-1].cpu() for each in (self.moments.aa, self.moments.bb, self.moments.ab)
        )
        dtype = self.aa.dtype
        self.w_a = self.layer.matrix(self.params_a).cpu().to(dtype)
        self.w_b = self.layer.matrix(self.params_b).cpu().to(dtype)
        energy = (self.w_a @ self.aa * self.w_a).sum() + (self.w_b @ self.bb * self.w_b).sum()
        self.scale = 2 / float(energy) if float(energy) > 0 else 0.0

    def value(self, indices: Indices) -> float:
        """Return the term of the layer in the sum."""
        w, bb, ab = self._moved(indices)
        difference = self.w_a - w
        kernel = self.aa + bb - ab - ab.T
        norm = float((difference @ kernel * difference).sum(dtype=torch.float64))
        return self.scale * max(0.0, norm)

    def add(self, sums: dict[Key, Tensor], tree: Tree, indices: Indices) -> None:
        """Add minus half the gradient to the similarities of a tree."""
        w, bb, ab = self._moved(indices)
        members = frozenset(tree.members)
        if self.output_groups & members:
            kernel = self.aa + bb - ab - ab.T
            self.axes.add(sums, tree, self.out, self.scale * (self.w_a @ kernel @ w.T), indices)
        if self.input_groups & members:
            square_a, square_b, cross = self.w_a.T @ self.w_a, w.T @ w, self.w_a.T @ w
            gradient = square_a @ (ab - bb) + self.aa @ (cross - square_b)
            gradient += cross @ (bb - ab) + ab @ (square_b - cross)
            self.axes.add(sums, tree, self.inner, self.scale * gradient, indices)

    def _moved(
        self, indices: Indices
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "d d"], Float[Tensor, "d d"]]:
        out, inner = (self.axes.sources(side, indices) for side in (self.out, self.inner))
        return self.w_b[out][:, inner], self.bb[inner][:, inner], self.ab[:, inner]


@dataclass
class CommutingRun:
    """Result of one start.

    Args:
        indices: indices of all groups.
        values: minus the sum, at initialization and after every sweep.
        converged: whether no tree moved in the last sweep.
    """

    indices: dict[str, Tensor]
    values: list[float]
    converged: bool = False


class CommutingDescent:
    """Coordinate descent on the sum over layers.

    Args:
        search: search with the trees and their solvers.
        layers: the layers.
        seed: random seed for the order of the trees.
        max_sweeps: maximum number of sweeps of a run.
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
            number: number of the start, from 0.
            progress: callback after every tree.
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
        """Move one tree if the sum decreases; return whether it moved."""
        tree = self.search.trees[root]
        members = frozenset(tree.members)
        near = [
            layer for layer in self.layers if (layer.output_groups | layer.input_groups) & members
        ]
        sums: dict[Key, Tensor] = {}
        for layer in near:
            layer.add(sums, tree, run.indices)
        before = sum(now[layer.inner] for layer in near)
        for damping in DAMPING if sums else ():
            self.num_solves += 1
            found = run.indices | self.search.solvers[root].solve(sums, run.indices, damping)
            if all(torch.equal(found[name], run.indices[name]) for name in tree.members):
                return False
            values = {layer.inner: layer.value(found) for layer in near}
            if sum(values.values()) < before * (1 - 1e-6):
                run.indices = found
                now.update(values)
                return True
        return False
