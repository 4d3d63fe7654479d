"""Search: the state of coordinate descent over trees, and its steps.

Holds the present indices, the similarities of every tree, which trees share a block, and
which need solving again. What a step gains is read off the similarities and summed in
float64; where a block is not linear in a tree it is evaluated in float64.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from onebasin.matching._assignment.nested import NestedSolver
from onebasin.matching._coordinate_descent.packs import bytes_of, packable
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._coordinate_descent.products import Products
from onebasin.matching._coordinate_descent.terms import Workspace
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree, View, tree_of, views_of
from onebasin.symmetry.symmetry import Symmetry

HOLDS = (0.0, -0.25, -0.5, -1.0, -2.0)
"""How firmly units are held, try after try, where the problem is linearized."""


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    Args:
        gain: what the objective gained.
        moved: whether the tree moved.
        settled: whether it is best where it is now, as long as no other moves.
    """

    gain: float
    moved: bool
    settled: bool


class Search:
    """Coordinate descent over the trees of a symmetry.

    Args:
        symmetry: of both networks.
        pair: both networks, surveyed.
        cache_bytes: memory that may be used to keep similarities.
        linear: for some trees similarities of another kind, which count beside those of
            the weights.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        pair: Pair,
        *,
        cache_bytes: int,
        linear: Mapping[str, Mapping[Key, Tensor]] | None = None,
    ) -> None:
        self.symmetry, self.pair, self.linear = symmetry, pair, linear or {}
        self.trees: dict[str, Tree] = {}
        self.views: dict[str, list[View]] = {}
        self.judged: dict[str, bool] = {}
        self._counted = frozenset(pair.names)
        self._plant()
        self.neighbors = self._neighbors()
        self.products = self._products(cache_bytes)
        self.solvers = {
            root: NestedSolver(tree, num_threads=torch.get_num_threads())
            for root, tree in self.trees.items()
        }
        self.indices: dict[str, Tensor] = {}
        self.num_solves = 0

    def _plant(self) -> None:
        """Make a tree of every group that is not matched in full as part of another."""
        unseen: set[str] = set()
        for name, group in self.symmetry.groups.items():
            if name in unseen or not any(
                outer in self.symmetry.groups for outer in group.nested_in
            ):
                tree = self.trees[name] = tree_of(self.symmetry, name)
                unseen |= self._look(tree)

    def _look(self, tree: Tree) -> set[str]:
        """Collect the views of a tree; return inner groups on blocks that it does not see."""
        self.views[tree.root], self.judged[tree.root] = [], False
        unseen: set[str] = set()
        for name, block in self.symmetry.carried_blocks[tree.root]:
            if name not in self._counted:
                continue
            count = block.groups.count(tree.root)
            views = views_of(self.symmetry, tree, name, block)
            self.views[tree.root] += views
            self.judged[tree.root] |= count > 1 or len(views) < count
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
        """Share the memory out, first where a kept entry saves the most multiplications."""
        space, left = Workspace(self.pair.dtype), cache_bytes
        products = {}
        for root in sorted(self.trees, key=self._worth, reverse=True):
            needed = self._sum_entries(root) * self.pair.dtype.itemsize
            hold = needed <= left
            left -= needed if hold else 0
            packed = packable(self.trees[root], self.views[root]) if hold else {}
            needed = sum(bytes_of(views, self.pair.dtype) for views in packed.values())
            packed = packed if needed <= left else {}
            left -= needed if packed else 0
            products[root] = Products(
                self.trees[root],
                self.views[root],
                self.pair,
                hold=hold,
                space=space,
                packed=packed,
            )
        return products

    def _sum_entries(self, root: str) -> int:
        tree = self.trees[root]
        keys = {view.key for view in self.views[root]}
        return sum(key.num_outer(tree) * key.num_own(tree) ** 2 for key in keys)

    def _worth(self, root: str) -> float:
        """Return the multiplications that a held entry of the similarities saves."""
        entries = sum(view.block.num_entries * view.width for view in self.views[root])
        return entries / max(1, self._sum_entries(root))

    def similarities(self, root: str, known: Collection[str] | None = None) -> dict[Key, Tensor]:
        """Return a tree's similarities, all others where they are (see `Products.update`)."""
        sums = self.products[root].update(self.indices, known)
        for key, values in self.linear.get(root, {}).items():
            sums[key] = sums[key] + values if key in sums else values
        return sums

    def objective(self, indices: Indices) -> float:
        """Return what is maximized, in float64: `<A, moved B>` and what `linear` adds."""
        return self.pair.objective(indices) + self.linear_value(indices)

    def linear_value(self, indices: Indices) -> float:
        """Return what `linear` adds to the objective."""
        return sum((self.value(r, sums, indices) for r, sums in self.linear.items()), start=0.0)

    def step(
        self, root: str, *, push: float = 0.0, known: Collection[str] | None = None
    ) -> StepResult:
        """Solve one tree, and move it if that improves the objective or a push asks for it.

        Args:
            root: of the tree.
            push: see `NestedSolver.solve`; a pushed step is taken whatever it gains.
            known: see `Products.update`; if given, nothing beyond these rows is judged.
        """
        sums = self.similarities(root, known)
        if not sums:
            return StepResult(0.0, moved=False, settled=True)
        judged = self.judged[root] and known is None
        for hold in HOLDS if judged and not push else (push,):
            new = self._solve(root, sums, hold)
            changed = {n: i for n, i in new.items() if not torch.equal(i, self.indices[n])}
            if not changed:
                break
            gain, exceeds = self.gain(root, sums, changed, judged=judged)
            if exceeds or push > 0:
                self.indices.update(changed)
                settled = not judged and (not push or root not in changed)
                return StepResult(gain, moved=True, settled=settled)
        return StepResult(0.0, moved=False, settled=True)

    def _solve(self, root: str, sums: Mapping[Key, Tensor], push: float) -> dict[str, Tensor]:
        self.num_solves += 1
        return self.solvers[root].solve(sums, self.indices, push)

    def gain(
        self, root: str, sums: Mapping[Key, Tensor], changed: Indices, *, judged: bool
    ) -> tuple[float, bool]:
        """Return what a change gains, and whether that is more than rounding."""
        after = {**self.indices, **changed}
        if judged:
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
        """Return what the rows in a tree's similarities add up to, by default as it is now."""
        total = 0.0
        for key, values in sums.items():
            axes = key.axes(self.trees[root])
            old = axes.old_positions(indices or self.indices) % values.shape[-1]
            total += float(values.flatten(0, 1).gather(1, old[:, None]).double().sum())
        return total

    def forget(self) -> None:
        """Drop all similarities, for another start."""
        for products in self.products.values():
            products.forget()
