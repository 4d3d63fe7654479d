"""Similarities of the units of one tree, updated when other groups move."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from onebasin.matching._coordinate_descent.packs import Pack
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._coordinate_descent.terms import Term, Workspace, add_products
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree, View


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

    def forget(self) -> None:
        """Reset the similarities; the next update recomputes them."""
        self.sums = {}
        for each in (*self.terms, *self.packs):
            each.used = each.unknown
