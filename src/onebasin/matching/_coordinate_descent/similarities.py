"""Similarities of the units of one tree, updated when other groups move.

A block of A is arranged as `(rows, n)`: the tree's own axes last, all others flattened into
rows. The similarity is `A.T @ B[old rows]`. Only rows that moved are multiplied again.

In densely connected networks a group occurs in a block of every later layer. One product over
all of these blocks is much faster than one product for each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import is_

import torch
from jaxtyping import Int
from torch import Tensor

from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._coordinate_descent.products import Workspace, add_products
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree, View

SMALL = 2**14
"""Maximum number of entries of a block for which the overhead of a product dominates."""

FEWEST = 8
"""Minimum number of blocks of a pack."""


class Product:
    """A product that is corrected for moved rows: the source rows of the last multiplication.

    Args:
        num_rows: number of rows.
    """

    def __init__(self, num_rows: int) -> None:
        self.unknown = torch.full((num_rows,), -1)
        self.used = self.unknown

    def reset(self) -> None:
        """Forget the last multiplication."""
        self.used = self.unknown


class Term(Product):
    """The product of one view."""

    def __init__(self, view: View) -> None:
        super().__init__(view.num_rows)
        self.view = view
        self._old = self.unknown
        self._seen: list[Tensor | None] | None = None
        names = view.held.names
        self._alone = names[0] if len(names) == 1 and not view.held.outers[0] else None

    def sources(self, indices: Indices, known: Collection[str] | None) -> Int[Tensor, " r"]:
        """Return the old row for every row; -1 if unknown."""
        if known is not None and not self.view.movable.issubset(known):
            return self.unknown
        if self._alone is not None and self._alone in indices:
            return indices[self._alone]
        seen, last = [indices.get(name) for name in self.view.held.names], self._seen
        if last is None or any(x is not y for x, y in zip(seen, last, strict=True)):
            self._old, self._seen = self.view.held.old_positions(indices), seen
        return self._old


def packable(tree: Tree, views: Sequence[View]) -> dict[Key, list[View]]:
    """Return the views of a tree that can share a product, by key."""
    found: dict[Key, list[View]] = {}
    for view in views:
        if view.block.num_entries <= SMALL and view.key.num_outer(tree) == 1:
            found.setdefault(view.key, []).append(view)
    return {key: small for key, small in found.items() if len(small) >= FEWEST}


class Pack(Product):
    """Blocks of one key whose rows are multiplied together.

    Args:
        key: key of all views.
        views: small views without outer positions.
        pair: both networks; each tensor is read once, at the first update.
        space: workspace of all trees.
    """

    def __init__(self, key: Key, views: Sequence[View], pair: Pair, space: Workspace) -> None:
        self.key, self.pair, self.space = key, pair, space
        # Views of one tensor are adjacent: it is read once.
        self.terms = [Term(view) for view in sorted(views, key=lambda view: view.tensor)]
        # A view of r rows with f fixed places has r * f rows here.
        fixed = [view.fixed for view in self._views for _ in range(view.num_rows)]
        sizes = [view.num_rows * view.fixed for view in self._views]
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        lengths = torch.tensor([view.num_rows for view in self._views])
        self.steps = torch.tensor(fixed)
        self.starts = starts.repeat_interleave(lengths)
        rows = torch.arange(len(fixed)).repeat_interleave(self.steps)
        first = self.steps.cumsum(0) - self.steps
        self.rows, self.places = rows, torch.arange(len(rows)) - first[rows]
        self.parts: list[Tensor] = []
        super().__init__(len(rows))
        self.values: tuple[Tensor, Tensor] | None = None

    @property
    def _views(self) -> Iterable[View]:
        return [term.view for term in self.terms]

    def update(self, sums: Tensor, indices: Indices, known: Collection[str] | None) -> None:
        """Correct similarities for the rows that moved since the last update.

        Args:
            sums: similarities of the key, changed in place.
            indices: indices of all groups.
            known: see `Products.update`.
        """
        parts = [term.sources(indices, known) for term in self.terms]
        if self.used is not self.unknown and all(map(is_, parts, self.parts)):
            return
        self.parts = parts
        new = self._sources(torch.cat(parts))
        if not torch.equal(new, self.used):
            a, b = self._values()
            add_products(sums, a, b, new, self.used, self.space)
            self.used = new

    def _sources(self, old: Tensor) -> Tensor:
        """Return the old row of the pack for every new one; -1 if unknown."""
        firsts = torch.where(old < 0, -1, old * self.steps + self.starts)[self.rows]
        return torch.where(firsts < 0, -1, firsts + self.places)

    def _values(self) -> tuple[Tensor, Tensor]:
        """Return the rows of A and of B, `(rows, 1, own)`."""
        if self.values is None:
            sides: tuple[list[Tensor], list[Tensor]] = [], []
            name, tensors = "", None
            for view in self._views:
                if tensors is None or view.tensor != name:
                    name, tensors = view.tensor, self.pair.read(view.tensor)
                for side, tensor in zip(sides, tensors, strict=True):
                    rows = view.arrange(tensor).reshape(-1, 1, view.width)
                    side.append(rows.to(self.pair.dtype))
            self.values = torch.cat(sides[0]), torch.cat(sides[1])
        return self.values


def bytes_of(views: Sequence[View], dtype: torch.dtype) -> int:
    """Return the memory of the values of a pack."""
    return 2 * dtype.itemsize * sum(view.block.num_entries for view in views)


class Products:
    """The similarities of one tree, `(outer, own, own)` for each key.

    Args:
        tree: the tree.
        views: all blocks that the tree occurs in.
        pair: both networks.
        keeps_sums: whether to keep and correct the similarities.
        space: workspace of all trees.
        packed: keys whose small blocks are multiplied together.
    """

    def __init__(
        self,
        tree: Tree,
        views: Sequence[View],
        pair: Pair,
        *,
        keeps_sums: bool,
        space: Workspace,
        packed: Mapping[Key, Sequence[View]] | None = None,
    ) -> None:
        self.tree, self.pair, self.keeps_sums, self.space = tree, pair, keeps_sums, space
        self.keys = tuple(dict.fromkeys(view.key for view in views))
        self.packs = [Pack(key, small, pair, space) for key, small in (packed or {}).items()]
        together = {id(term.view) for pack in self.packs for term in pack.terms}
        self.terms = [Term(view) for view in views if id(view) not in together]
        self.sums: dict[Key, Tensor] = {}

    def update(self, indices: Indices, known: Collection[str] | None = None) -> dict[Key, Tensor]:
        """Return the similarities for the current indices of all other groups.

        A tensor is read at most once, and only if some of its rows moved.

        Args:
            indices: indices of all groups.
            known: matched groups; rows of other groups are left out. The set may only grow until
                `forget`.
        """
        for key in self.keys:
            if key not in self.sums:
                outer, size = key.num_outer(self.tree), key.num_own(self.tree)
                self.sums[key] = torch.zeros(outer, size, size, dtype=self.pair.dtype)
        pending: dict[str, list[tuple[Term, Tensor]]] = {}
        for term in self.terms:
            old = term.sources(indices, known)
            if not torch.equal(old, term.used):
                pending.setdefault(term.view.tensor, []).append((term, old))
        for name, terms in pending.items():
            self._add(name, terms)
        for pack in self.packs:
            pack.update(self.sums[pack.key], indices, known)
        sums = dict(self.sums)
        if not self.keeps_sums:
            self.forget()
        return sums

    def _add(self, name: str, terms: list[tuple[Term, Tensor]]) -> None:
        """Correct the similarities for the moved rows of one tensor."""
        pair = self.pair.read(name)
        for term, old in terms:
            a, b = (term.view.arrange(tensor) for tensor in pair)
            add_products(self.sums[term.view.key], a, b, old, term.used, self.space)
            term.used = old

    def refresh(self) -> None:
        """Reset the similarities after entries of B have changed."""
        self.forget()
        for pack in self.packs:
            pack.values = None

    def forget(self) -> None:
        """Reset the similarities; the next update recomputes them."""
        self.sums = {}
        for product in (*self.terms, *self.packs):
            product.reset()
