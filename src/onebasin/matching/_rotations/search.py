"""State and steps of a search over permutations, signs and orthogonal maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from onebasin.matching._assignment.nested import NestedSolver
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._coordinate_descent.search import Search, StepResult
from onebasin.matching._coordinate_descent.trees import Indices, Key, View
from onebasin.matching._rotations.moving import TransformedNetwork
from onebasin.matching._rotations.solutions import best_map, best_signs, best_value
from onebasin.symmetry.actions import Axis
from onebasin.symmetry.permutation import old_outers
from onebasin.symmetry.symmetry import Symmetry

SMALLEST_GAIN = 1e-6
"""Smallest gain of a step that mixes units, as a fraction of the value of its tree."""

SMALLEST_CHANGE = 1e-7
"""Smallest change of an entry of a map, if B must be a transformed A."""


class RotationSearch(Search):
    """Coordinate descent over trees whose groups are permuted, mixed or change signs.

    Args:
        symmetry: symmetry of both networks.
        pair: the balanced networks, after `compute_stats`.
        moving: the balanced B, which is the second network of the pair.
        is_exact: whether B must be a transformed A, so that small changes matter.
        cache_bytes: memory for similarities.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        pair: Pair,
        moving: TransformedNetwork,
        *,
        is_exact: bool,
        cache_bytes: int,
    ) -> None:
        self.moving, self.is_exact = moving, is_exact
        super().__init__(symmetry, pair, cache_bytes=cache_bytes)
        self.keeps_ones = {
            name: symmetry.actions[name].symmetry_class == "orthogonal with ones"
            for name in moving.mixing
        }
        for root, tree in self.trees.items():
            values = {
                name: partial(best_value, keeps_ones=self.keeps_ones[name])
                for name in tree.members
                if name in self.keeps_ones
            }
            if values:
                threads = torch.get_num_threads()
                self.solvers[root] = NestedSolver(tree, num_threads=threads, values=values)

    def _collect_views(self, tree):
        unseen = super()._collect_views(tree)
        self.views[tree.root] = [self._with_signs(view) for view in self.views[tree.root]]
        return unseen

    def _with_signs(self, view: View) -> View:
        """Note which signs change the sign of a view."""
        number = self.symmetry.blocks[view.tensor].index(view.block)
        odd = [
            (name, sign)
            for axis, name in zip(view.order[-len(view.key.own) :], view.key.own, strict=True)
            if name in self.moving.signs
            for sign, powers in enumerate(self.symmetry.actions[name].signs)
            if powers.get(Axis(view.tensor, number, axis), 0)
        ]
        return replace(view, key=replace(view.key, odd=tuple(odd))) if odd else view

    def set_indices(self, indices: Indices) -> None:
        """Continue from other indices, without maps and signs."""
        super().set_indices(indices)
        self.moving.reset()
        self._refresh(self.trees)

    def state(self) -> Any:
        """Return the current state, for `restore`."""
        return dict(self.indices), dict(self.moving.maps), dict(self.moving.signs)

    def restore(self, state: Any) -> None:
        """Return to an earlier state."""
        indices, maps, signs = state
        self.indices = dict(indices)
        self.moving.update(maps, signs)
        self._refresh(self.trees)

    def _refresh(self, roots: Collection[str]) -> None:
        for root in roots:
            self.products[root].refresh()

    def step(
        self, root: str, *, perturbation: float = 0.0, known: Collection[str] | None = None
    ) -> StepResult:
        """Solve one tree, and move it if the objective improves; see `Search.step`."""
        tree = self.trees[root]
        if not {*self.moving.maps, *self.moving.signs} & {*tree.members}:
            return super().step(root, perturbation=perturbation, known=known)
        sums = self.similarities(root, known)
        if not sums:
            return StepResult(0.0, moved=False, converged=True)
        exact = self.is_nonlinear[root] and known is None
        new = self.solve(root, self._combined(sums), perturbation)
        state, before = self.state(), self._objective(root, sums) if exact else None
        after = {**self.indices, **new}
        step = _Change(self, root, sums, after)
        gain = step.value - self.value(root, sums)
        self.move(new)
        self._transform(root, step)
        if before is not None:
            gain = self._objective(root, sums) - before
        scale = SMALLEST_GAIN * abs(step.value)
        if gain > scale or perturbation > 0:
            return StepResult(gain, moved=True, converged=not exact and not perturbation)
        if self.is_exact and gain > -scale and step.size > SMALLEST_CHANGE:
            return StepResult(gain, moved=True, converged=not exact)
        self.restore(state)
        return StepResult(0.0, moved=False, converged=True)

    def take(self, root: str, sums: Mapping[Key, Tensor]) -> None:
        """Move a tree to the best maps for given similarities."""
        new = self.solve(root, self._combined(sums))
        change = _Change(self, root, sums, {**self.indices, **new})
        self.move(new)
        self._transform(root, change)

    def _combined(self, sums: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
        """Return similarities for the best signs of the innermost units."""
        parts: dict[Key, dict[tuple[int, ...], Tensor]] = {}
        for key, values in sums.items():
            inner = tuple(sign for name, sign in key.odd if name == key.own[-1])
            base = parts.setdefault(replace(key, odd=()), {})
            base[inner] = base[inner] + values if inner in base else values
        return {key: best_signs(each)[0] for key, each in parts.items()}

    def _objective(self, root: str, sums: Mapping[Key, Tensor]) -> float:
        names = dict.fromkeys(t for m in self.trees[root].members for t in self._carriers(m))
        total = self.pair.objectives([self.indices], names)[0]
        return total + (self.value(root, self.linear[root]) if root in self.linear else 0.0)

    def _transform(self, root: str, step: _Change) -> None:
        """Apply the maps and signs of a step to B."""
        maps, signs = {}, {}
        for name, change in step.maps.items():
            positions = old_outers(self.symmetry, self.indices, name)
            maps[name] = self.moving.maps[name].clone()
            maps[name][positions] = change @ maps[name][positions]
        for name, flips in step.signs.items():
            positions = old_outers(self.symmetry, self.indices, name)
            signs[name] = self.moving.signs[name].clone()
            for own, flip in zip(signs[name], flips, strict=True):
                index = self.indices[name]
                rows = own[positions].clone()
                own[positions] = rows.scatter(-1, index, rows.gather(-1, index) * flip)
        if maps or signs:
            self.moving.update(maps, signs)
            self._refresh({root, *self.neighbors[root]})


class _Change:
    """The best maps and signs of a tree for new indices.

    Attributes:
        maps: map of each member that mixes units, arranged by the new outer positions.
        signs: changes of signs of the members, arranged by the new positions.
        value: the value of the similarities after the change.
        size: the largest change of an entry of a map.
    """

    def __init__(
        self, search: RotationSearch, root: str, sums: Mapping[Key, Tensor], indices: Indices
    ) -> None:
        self.tree, self.indices = search.trees[root], indices
        self.size = 0.0
        self.maps = self._best_maps(search, sums)
        entries = {key: self._entries(key, values) for key, values in sums.items()}
        self.signs = {
            name: self._flips(search, name, entries)
            for name in self.tree.members
            if name in search.moving.signs
        }
        self.value = sum(float(values.sum()) for _, values in entries.values())

    def _best_maps(self, search: RotationSearch, sums: Mapping[Key, Tensor]) -> dict[str, Tensor]:
        totals: dict[str, Tensor] = {}
        for key, values in sums.items():
            name = key.own[-1]
            if name in search.keeps_ones:
                names, blocks = self._blocks(key, values)
                own = _collected(blocks, names, self.tree.nested_in[name], kept=2)
                totals[name] = totals[name] + own if name in totals else own
        maps = {}
        for name, total in totals.items():
            maps[name] = best_map(total, keeps_ones=search.keeps_ones[name])
            identity = torch.eye(total.shape[-1], dtype=torch.float64)
            self.size = max(self.size, float((maps[name] - identity).abs().max()))
        return maps

    def _blocks(self, key: Key, values: Tensor) -> tuple[tuple[str, ...], Tensor]:
        """Return the similarities of the innermost units at the chosen outer ones."""
        sizes, prefix = self.tree.sizes, key.own[:-1]
        n, outer, own = sizes[key.own[-1]], key.num_outer(self.tree), _size(sizes, prefix)
        names = (*key.outer, *prefix)
        old = Key(key.outer, prefix).axes(self.tree).old_positions(self.indices) % own
        first = torch.arange(outer).repeat_interleave(own)
        second = torch.arange(own).repeat(outer)
        blocks = values.view(outer, own, n, own, n)[first, second, :, old, :]
        return names, blocks.view(*(sizes[each] for each in names), n, n).double()

    def _entries(self, key: Key, values: Tensor) -> tuple[tuple[str, ...], Tensor]:
        """Return the value of every chosen pair of units; of a mixed group, their sum."""
        name = key.own[-1]
        if name in self.maps:
            names, blocks = self._blocks(key, values)
            places = [names.index(each) for each in self.tree.nested_in[name]]
            own = self.maps[name]
            shape = [1] * (len(names) + 2)
            for place, size in zip(places, own.shape, strict=False):
                shape[place] = size
            shape[-2:] = own.shape[-2:]
            order = sorted(range(len(places)), key=places.__getitem__)
            own = own.permute(*order, len(places), len(places) + 1).reshape(shape)
            return names, (blocks * own).sum((-2, -1))
        names = (*key.outer, *key.own)
        old = key.axes(self.tree).old_positions(self.indices) % values.shape[-1]
        chosen = values.flatten(0, 1).gather(1, old[:, None]).double()
        return names, chosen.view([self.tree.sizes[each] for each in names])

    def _flips(
        self,
        search: RotationSearch,
        name: str,
        entries: dict[Key, tuple[tuple[str, ...], Tensor]],
    ) -> Tensor:
        """Return the changes of signs that increase the value, and change the entries."""
        wanted = (*self.tree.nested_in[name], name)
        flips = torch.ones_like(search.moving.signs[name])
        parts: dict[tuple[int, ...], Tensor] = {}
        for key, (names, values) in entries.items():
            odd = tuple(number for member, number in key.odd if member == name)
            if odd:
                own = _collected(values, names, wanted, kept=0)
                parts[odd] = parts[odd] + own if odd in parts else own
        for number, flip in best_signs(parts)[1].items() if parts else ():
            flips[number] = flip
        for key, (names, values) in entries.items():
            for member, number in key.odd:
                if member == name:
                    values = values * _spread(flips[number], wanted, names)
            entries[key] = names, values
        return flips


def _size(sizes: Mapping[str, int], names: tuple[str, ...]) -> int:
    return prod(sizes[name] for name in names)


def _collected(
    values: Tensor, names: tuple[str, ...], wanted: tuple[str, ...], *, kept: int
) -> Tensor:
    """Sum over the axes that are not wanted, and order the others; the last `kept` stay."""
    extra = [place for place, name in enumerate(names) if name not in wanted]
    rest = [name for name in names if name in wanted]
    values = values.sum(extra) if extra else values
    tail = range(values.dim() - kept, values.dim())
    return values.permute(*(rest.index(name) for name in wanted), *tail)


def _spread(values: Tensor, own: tuple[str, ...], names: tuple[str, ...]) -> Tensor:
    """Return values with one dimension for each name; of size one for those not in `own`."""
    order = sorted(range(len(own)), key=lambda place: names.index(own[place]))
    shape = [values.shape[own.index(name)] if name in own else 1 for name in names]
    return values.permute(order).reshape(shape)
