"""Packs: small blocks of one tree, adjacent in memory.

In densely connected networks a group occurs in a block of every later layer. One product over
all of these blocks is much faster than one product for each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from operator import is_

import torch
from torch import Tensor

from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._coordinate_descent.terms import Term, Workspace, add_products
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree, View

SMALL = 2**14
"""Maximum number of entries of a block for which the overhead of a product dominates."""

FEWEST = 8
"""Minimum number of blocks of a pack."""


def packable(tree: Tree, views: Sequence[View]) -> dict[Key, list[View]]:
    """Return the views of a tree that can share a product, by key."""
    found: dict[Key, list[View]] = {}
    for view in views:
        if view.block.num_entries <= SMALL and view.key.num_outer(tree) == 1:
            found.setdefault(view.key, []).append(view)
    return {key: small for key, small in found.items() if len(small) >= FEWEST}


class Pack:
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
        self.used = self.unknown = torch.full((len(rows),), -1)
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
