"""State and steps of coordinate descent over trees.

The gain of a step is read off the similarities and summed in float64. If a block is not linear
in a tree, the objective is evaluated in float64 instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onebasin.matching._assignment.nested import NestedSolver
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._coordinate_descent.products import Workspace
from onebasin.matching._coordinate_descent.similarities import Products, bytes_of, packable
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree, View, tree_of, views_of
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

DAMPING = (0.0, -0.25, -0.5, -1.0, -2.0)
"""Damping of successive attempts if the problem is linearized."""


@dataclass(frozen=True)
class StepResult:
    """Result of a step.

    Args:
        gain: increase of the objective.
        moved: whether the tree moved.
        converged: whether the tree is optimal as long as no other tree moves.
    """

    gain: float
    moved: bool
    converged: bool


class Search:
    """Coordinate descent over the trees of a symmetry.

    Args:
        symmetry: symmetry of both networks.
        pair: both networks, after `compute_stats`.
        cache_bytes: memory for similarities.

    Attributes:
        indices: current indices of all groups; at first the identity.
        num_solves: number of solved assignments.
    """

    def __init__(self, symmetry: Symmetry, pair: Pair, *, cache_bytes: int) -> None:
        self.symmetry, self.pair = symmetry, pair
        self.linear: Mapping[str, Mapping[Key, Tensor]] = {}
        self.trees: dict[str, Tree] = {}
        self.views: dict[str, list[View]] = {}
        self.is_nonlinear: dict[str, bool] = {}
        self._counted = frozenset(pair.names)
        self._build_trees()
        self.neighbors = self._neighbors()
        self.products = self._products(cache_bytes)
        self.solvers = {
            root: NestedSolver(tree, num_threads=torch.get_num_threads())
            for root, tree in self.trees.items()
        }
        self.indices = dict(Permutation.identity(symmetry).indices)
        self.num_solves = 0

    def _build_trees(self) -> None:
        """Build a tree for every group that is not fully covered by another tree."""
        unseen: set[str] = set()
        for name, group in self.symmetry.groups.items():
            if name in unseen or not any(
                outer in self.symmetry.groups for outer in group.nested_in
            ):
                tree = self.trees[name] = tree_of(self.symmetry, name)
                unseen |= self._collect_views(tree)

    def _collect_views(self, tree: Tree) -> set[str]:
        """Collect the views of a tree; return nested groups on blocks without a view."""
        self.views[tree.root], self.is_nonlinear[tree.root] = [], False
        unseen: set[str] = set()
        for name, block in self.symmetry.carried_blocks[tree.root]:
            if name not in self._counted:
                continue
            count = block.groups.count(tree.root)
            views = views_of(self.symmetry, tree, name, block)
            self.views[tree.root] += views
            self.is_nonlinear[tree.root] |= count > 1 or len(views) < count
            if len(views) < count:
                unseen.update(n for n in block.groups if n in self._nested(tree.root))
        return unseen

    def _nested(self, root: str) -> set[str]:
        return {name for name, group in self.symmetry.groups.items() if root in group.nested_in}

    def _neighbors(self) -> dict[str, set[str]]:
        """Return for every tree the others that share a block with it."""
        roots: dict[str, list[str]] = {name: [] for name in self.symmetry.groups}
        for root, tree in self.trees.items():
            for member in tree.members:
                roots[member].append(root)
        near: dict[str, set[str]] = {root: set() for root in self.trees}
        for name in self.pair.names:
            for block in self.symmetry.blocks[name]:
                met = {root for group in block.groups for root in roots.get(group, ())}
                for root in met:
                    near[root] |= met - {root}
        return near

    def _products(self, cache_bytes: int) -> dict[str, Products]:
        """Distribute the cache by the number of multiplications that a cached entry saves."""
        space, left = Workspace(self.pair.dtype), cache_bytes
        products = {}
        for root in sorted(self.trees, key=self._worth, reverse=True):
            needed = self._sum_entries(root) * self.pair.dtype.itemsize
            keeps_sums = needed <= left
            left -= needed if keeps_sums else 0
            packed = packable(self.trees[root], self.views[root]) if keeps_sums else {}
            needed = sum(bytes_of(views, self.pair.dtype) for views in packed.values())
            packed = packed if needed <= left else {}
            left -= needed if packed else 0
            products[root] = Products(
                self.trees[root],
                self.views[root],
                self.pair,
                keeps_sums=keeps_sums,
                space=space,
                packed=packed,
            )
        return products

    def _sum_entries(self, root: str) -> int:
        tree = self.trees[root]
        keys = {view.key for view in self.views[root]}
        return sum(key.num_outer(tree) * key.num_own(tree) ** 2 for key in keys)

    def _worth(self, root: str) -> float:
        """Return the number of multiplications that a cached entry saves."""
        entries = sum(view.block.num_entries * view.width for view in self.views[root])
        return entries / max(1, self._sum_entries(root))

    def add_linear_term(self, linear: Mapping[str, Mapping[Key, Tensor]]) -> None:
        """Add similarities of some trees to the objective, such as those of features."""
        self.linear = linear

    def set_indices(self, indices: Indices) -> None:
        """Continue from other indices of all groups."""
        self.indices = dict(indices)

    def state(self) -> Any:
        """Return the current state, for `restore`."""
        return dict(self.indices)

    def restore(self, state: Any) -> None:
        """Return to an earlier state."""
        self.indices = dict(state)

    def move(self, changed: Indices) -> None:
        """Change the indices of some groups."""
        self.indices.update(changed)

    def similarities(self, root: str, known: Collection[str] | None = None) -> dict[Key, Tensor]:
        """Return the similarities of a tree at the current indices (see `Products.update`)."""
        sums = self.products[root].update(self.indices, known)
        for key, values in self.linear.get(root, {}).items():
            sums[key] = sums[key] + values if key in sums else values
        return sums

    def objective(self, indices: Indices) -> float:
        """Return the objective in float64: `<A, P(B)>` plus the linear term."""
        return self.pair.objective(indices) + self.linear_value(indices)

    def linear_value(self, indices: Indices) -> float:
        """Return the linear term of the objective."""
        return sum((self.value(r, sums, indices) for r, sums in self.linear.items()), start=0.0)

    def step(
        self, root: str, *, perturbation: float = 0.0, known: Collection[str] | None = None
    ) -> StepResult:
        """Solve one tree, and move it if the objective improves.

        Args:
            root: root of the tree.
            perturbation: see `NestedSolver.solve`; a perturbed step is always taken.
            known: see `Products.update`; if given, the gain is read off the similarities.
        """
        sums = self.similarities(root, known)
        if not sums:
            return StepResult(0.0, moved=False, converged=True)
        exact = self.is_nonlinear[root] and known is None
        for damping in DAMPING if exact and not perturbation else (perturbation,):
            new = self.solve(root, sums, damping)
            changed = {n: i for n, i in new.items() if not torch.equal(i, self.indices[n])}
            if not changed:
                break
            gain, exceeds = self.gain(root, sums, changed, exact=exact)
            if exceeds or perturbation > 0:
                self.move(changed)
                converged = not exact and (not perturbation or root not in changed)
                return StepResult(gain, moved=True, converged=converged)
        return StepResult(0.0, moved=False, converged=True)

    def solve(
        self, root: str, sums: Mapping[Key, Tensor], perturbation: float = 0.0
    ) -> dict[str, Tensor]:
        """Return the best indices of a tree, without a move.

        Args:
            root: root of the tree.
            sums: similarities of the tree.
            perturbation: see `NestedSolver.solve`.
        """
        self.num_solves += 1
        return self.solvers[root].solve(sums, self.indices, perturbation)

    def gain(
        self, root: str, sums: Mapping[Key, Tensor], changed: Indices, *, exact: bool
    ) -> tuple[float, bool]:
        """Return the gain of a change, and whether it exceeds rounding."""
        after = {**self.indices, **changed}
        if exact:
            names = dict.fromkeys(t for m in self.trees[root].members for t in self._carriers(m))
            new, old = self.pair.objectives((after, self.indices), names)
            if root in self.linear:
                new += self.value(root, self.linear[root], after)
                old += self.value(root, self.linear[root])
            return new - old, new - old > 1e-12 * (abs(new) + abs(old))
        total = scale = 0.0
        for key, values in sums.items():
            axes = key.axes(self.trees[root])
            size = values.shape[-1]
            new, old = (axes.old_positions(i) % size for i in (after, self.indices))
            places = (new != old).nonzero().flatten()
            rows = values.flatten(0, 1)
            won = rows[places, new[places]].double()
            lost = rows[places, old[places]].double()
            total += float((won - lost).sum())
            scale += float((won.abs() + lost.abs()).sum())
        return total, total > 2 * torch.finfo(self.pair.dtype).eps * scale

    def _carriers(self, group: str) -> list[str]:
        return [name for name in self.symmetry.tensors_of[group] if name in self._counted]

    def value(self, root: str, sums: Mapping[Key, Tensor], indices: Indices | None = None) -> float:
        """Return the sum of the similarities of matched units, by default at current indices."""
        total = 0.0
        for key, values in sums.items():
            axes = key.axes(self.trees[root])
            old = axes.old_positions(indices or self.indices) % values.shape[-1]
            total += float(values.flatten(0, 1).gather(1, old[:, None]).double().sum())
        return total

    def forget(self) -> None:
        """Reset all similarities for another start."""
        for products in self.products.values():
            products.forget()
