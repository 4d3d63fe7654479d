"""Products: the similarities of one tree's units, kept up to date as other groups move.

With a tree's own axes last and all others flattened into rows, a block of A is `(rows, n)`,
one of B the same, and the similarity `A.T @ B[old rows]`. Only rows that moved since the
last time are multiplied again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import groupby

import torch
from torch import Tensor

from onebasin.matching.pair import Pair
from onebasin.matching.trees import Indices, Key, Tree, View

CHUNK = 2**24
"""Entries of rearranged rows that are multiplied at a time."""


class Rows:
    """The rows of some views with one key and one width, as one matrix.

    Args:
        key: of the views.
        views: what is put together; only one where nothing is held.
    """

    def __init__(self, key: Key, views: list[View], num_outer: int) -> None:
        self.key, self.views, self.num_outer = key, views, num_outer
        counts = [view.num_rows // num_outer for view in views]
        self.starts = [sum(counts[:i]) for i in range(len(counts))]
        self.per_outer = sum(counts)
        self.counts = counts
        self.held: tuple[Tensor, Tensor] | None = None
        self.used = self._unknown()
        self.old = self._unknown()
        self._seen: list[tuple[Tensor | None, ...] | None] = [None] * len(views)

    def _unknown(self) -> Tensor:
        return torch.full((self.num_outer, self.per_outer), -1)

    def forget(self) -> None:
        """Start anew: the next update adds every row."""
        self.used = self._unknown()

    def sources(self, indices: Indices, known: Collection[str] | None) -> Tensor:
        """Return the old row for every row, shape `(outer * rows,)`; -1 where it is unknown."""
        for i, view in enumerate(self.views):
            if known is not None and not view.movable <= set(known):
                self._place(i, None)
                continue
            seen = tuple(indices.get(name) for name in view.held.names)
            if self._seen[i] is None or any(
                new is not old for new, old in zip(seen, self._seen[i] or (), strict=True)
            ):
                self._place(i, view.held.old_positions(indices))
                self._seen[i] = seen
        return self.old.flatten()

    def _place(self, i: int, old: Tensor | None) -> None:
        """Write where the rows of a view come from, counted through all views."""
        columns = slice(self.starts[i], self.starts[i] + self.counts[i])
        if old is None:
            self.old[:, columns] = -1
            self._seen[i] = None
            return
        outer = old.view(self.num_outer, -1).div(self.counts[i], rounding_mode="floor")
        inner = old.view(self.num_outer, -1) - outer * self.counts[i]
        self.old[:, columns] = outer * self.per_outer + inner + self.starts[i]

    def hold(self, dtype: torch.dtype) -> None:
        """Make room for the rows of all views."""
        view = self.views[0]
        shape = (self.num_outer, self.per_outer, view.fixed, view.width)
        self.held = (torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype))

    def fill(self, view: View, pair: tuple[Tensor, Tensor]) -> None:
        """Write the rows of one view into the room that was made."""
        assert self.held is not None
        i = self.views.index(view)
        for room, tensor in zip(self.held, pair, strict=True):
            rows = view.arrange(tensor).view(self.num_outer, -1, view.fixed, view.width)
            room[:, self.starts[i] : self.starts[i] + self.counts[i]] = rows


class Products:
    """The similarities of one tree, `(outer, own, own)` for each key.

    Args:
        tree: the tree.
        views: all blocks that it sees.
        pair: both networks.
        hold_rows: whether to keep rearranged copies of both networks' entries.
        hold_sums: whether to keep the similarities, and only correct them.
    """

    def __init__(
        self, tree: Tree, views: list[View], pair: Pair, *, hold_rows: bool, hold_sums: bool
    ) -> None:
        self.tree, self.pair = tree, pair
        self.hold_rows, self.hold_sums = hold_rows, hold_sums
        self.keys = tuple(dict.fromkeys(view.key for view in views))
        self.rows = list(self._rows(views))
        self.sums: dict[Key, Tensor] = {}

    def _rows(self, views: list[View]) -> Iterable[Rows]:
        def kind(view: View) -> tuple[int, int]:
            return self.keys.index(view.key), view.fixed

        if not self.hold_rows:
            yield from (Rows(view.key, [view], view.key.num_outer(self.tree)) for view in views)
            return
        for _, same in groupby(sorted(views, key=kind), key=kind):
            group = list(same)
            yield Rows(group[0].key, group, group[0].key.num_outer(self.tree))

    def update(self, indices: Indices, known: Collection[str] | None = None) -> dict[Key, Tensor]:
        """Return the similarities where all other groups are where `indices` has them.

        Args:
            indices: of all groups.
            known: groups whose indices mean something yet; rows held by others are left
                out. It only grows until `forget`.
        """
        if self.hold_rows and any(rows.held is None for rows in self.rows):
            self._fill()
        for key in self.keys:
            if key not in self.sums:
                outer, size = key.num_outer(self.tree), key.num_own(self.tree)
                self.sums[key] = torch.zeros(outer, size, size, dtype=self.pair.dtype)
        name, tensors = "", None
        for rows in self.rows:
            old = rows.sources(indices, known)
            used = rows.used.flatten()
            if torch.equal(old, used):
                continue
            if rows.held is not None:
                a, b = (room.flatten(0, 1) for room in rows.held)
            else:
                view = rows.views[0]
                if view.tensor != name or tensors is None:
                    tensors, name = None, view.tensor
                    tensors = self.pair.read(name)
                a, b = (view.arrange(tensor) for tensor in tensors)
            add_products(self.sums[rows.key], a, b, old, used)
            rows.used = rows.old.clone()
        sums = dict(self.sums)
        if not self.hold_sums:
            self.forget()
        return sums

    def _fill(self) -> None:
        by_tensor: dict[str, list[tuple[Rows, View]]] = {}
        for rows in self.rows:
            rows.hold(self.pair.dtype)
            for view in rows.views:
                by_tensor.setdefault(view.tensor, []).append((rows, view))
        for name, places in by_tensor.items():
            tensors = self.pair.read(name)
            for rows, view in places:
                rows.fill(view, tensors)

    def forget(self) -> None:
        """Drop the similarities; the next update makes them anew."""
        self.sums = {}
        for rows in self.rows:
            rows.forget()


def add_products(sums: Tensor, a: Tensor, b: Tensor, new: Tensor, used: Tensor) -> None:
    """Add what changes when rows of B come from other places than before, in place.

    Args:
        sums: similarities `(outer, n, n)`.
        a, b: entries of A and unmoved B, `(outer * rows, fixed, n)`, any dtype.
        new: old row of B for every row, `(outer * rows,)`; -1 where it is unknown.
        used: the same as it was when the row was last added.
    """
    outer, size = sums.shape[:2]
    if outer > 1:
        everything = torch.arange(len(new))
        left = _take(a, everything, sums.dtype).view(outer, -1, size)
        right = _change(b, new, used, sums.dtype).view(outer, -1, size)
        sums.baddbmm_(left.transpose(1, 2), right)
        return
    changed = (new != used).nonzero().flatten()
    for part in changed.split(max(1, CHUNK // (a.shape[1] * size))):
        left = _take(a, part, sums.dtype).view(-1, size)
        right = _change(b, new[part], used[part], sums.dtype).view(-1, size)
        sums[0].addmm_(left.T, right)


def _change(b: Tensor, new: Tensor, used: Tensor, dtype: torch.dtype) -> Tensor:
    before = (used >= 0).nonzero().flatten()
    if int(new.min()) >= 0:
        change = _take(b, new, dtype, copy=len(before) > 0)
    else:
        change = _take(b, new.clamp(min=0), dtype, copy=True)
        change[new < 0] = 0
    if len(before) == len(used):
        change -= _take(b, used, dtype)
    elif len(before):
        change[before] -= _take(b, used[before], dtype)
    return change


def _take(rows: Tensor, places: Tensor, dtype: torch.dtype, *, copy: bool = False) -> Tensor:
    """Return some rows, contiguous; a view where they are neighbours and need no copy."""
    first, last = int(places[0]), int(places[-1])
    if last - first + 1 == len(places) and bool((places[1:] > places[:-1]).all()):
        part = rows[first : last + 1]
        same = part.dtype == dtype and part.is_contiguous()
        return part.clone() if same and copy else part.to(dtype).contiguous()
    return rows.index_select(0, places).to(dtype).contiguous()
