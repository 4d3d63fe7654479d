"""Nested groups: an outer unit's worth is what its inner units can make of it.

For every pair of outer units the inner groups are assigned first; the best inner sums are
the outer similarity. The outer assignment then takes its inner orders along.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from onebasin.matching.assignment import assign, assign_many, picked
from onebasin.matching.terms import Indices, Reader, Term
from onebasin.symmetry.blocks import Block
from onebasin.symmetry.symmetry import Symmetry

PRECISION = 1e-7


class PairSearch:
    """The step of a group that others nest in.

    Args:
        symmetry: says what nests in what.
        group: the outer group.
    """

    def __init__(self, symmetry: Symmetry, group: str) -> None:
        self.symmetry, self.group = symmetry, group
        self.size = symmetry.groups[group].size
        within = (*symmetry.groups[group].within, group)
        self.inner = [n for n, g in symmetry.groups.items() if group in g.within]
        self.children = [n for n in self.inner if symmetry.groups[n].within == within]
        self.terms: list[Term] = []
        self.by_child: dict[str, list[Term]] = {name: [] for name in self.children}
        self.whole: list[Term] = []
        self.joint: dict[str, Tensor] = {}
        self.all_seen = True
        self.num_solves = 0

    def add(self, block: Block, read_a: Reader, read_b: Reader, *, hold: bool) -> None:
        """Take a block that carries the group and something that nests in it."""
        found = inner_groups(self.symmetry, self.group, block)
        place = block.groups_at(self.group)[0]
        self.whole.append(
            Term(self.symmetry, self.group, block, (place,), read_a, read_b, hold=False)
        )
        if len(found) == 1 and found[0] in self.by_child:
            columns = (place, block.groups_at(found[0])[0])
            term = Term(self.symmetry, self.group, block, columns, read_a, read_b, hold=hold)
            self.by_child[found[0]].append(term)
            self.terms.append(term)
        else:
            self.all_seen = False

    def forget(self) -> None:
        """Start anew."""
        self.joint = {}
        for term in self.terms:
            term.forget()

    def propose(
        self, indices: Indices, similarity: Tensor, counts: Callable[[Term], bool]
    ) -> tuple[dict[str, Tensor], float]:
        """Return new indices for the group and what nests in it, and the gain; {} and 0 if none.

        Args:
            indices: where all groups are.
            similarity: of the terms that carry the group alone, `(outer, n, n)`.
            counts: whether a term counts.
        """
        self.num_solves = 0
        candidate = {name: indices[name].clone() for name in (self.group, *self.inner)}
        for name in self.children:
            self._update(name, indices, counts)
        for outer, own in enumerate(similarity):
            self._solve(outer, own, indices, candidate)
        if all(torch.equal(candidate[name], indices[name]) for name in candidate):
            return {}, 0.0
        before = self._value(indices, indices, similarity)
        after = self._value(candidate, {**indices, **candidate}, similarity)
        if after - before > PRECISION * (abs(after) + abs(before)):
            return candidate, after - before
        return {}, 0.0

    def _update(self, child: str, indices: Indices, counts: Callable[[Term], bool]) -> None:
        """Bring the similarity of (outer, inner) pairs up to date."""
        width = self.size * self.symmetry.groups[child].size
        outer = indices[self.group].numel() // self.size
        if child not in self.joint:
            self.joint[child] = torch.zeros(outer, width, width)
        for term in filter(counts, self.by_child[child]):
            term.update(self.joint[child], indices)

    def _solve(
        self, outer: int, own: Tensor, indices: Indices, candidate: dict[str, Tensor]
    ) -> None:
        """Assign inner units for every pair, then outer units; write the result in place."""
        score, best = own.double().clone(), {}
        for name in self.children:
            best[name] = self._assign_inner(name, outer, score)
        new = assign(score)
        self.num_solves += 1
        candidate[self.group].view(-1, self.size)[outer] = new
        old = indices[self.group].reshape(-1, self.size)[outer]
        came_from = torch.argsort(old)[new]
        for name in self.inner:
            view = candidate[name].view(-1, self.size, *_tail(candidate[name], indices[self.group]))
            if name in best:
                view[outer] = best[name][torch.arange(self.size), new]
            else:
                kept = indices[name].reshape(view.shape)
                view[outer] = kept[outer][came_from]

    def _assign_inner(self, child: str, outer: int, score: Tensor) -> Tensor:
        """Add the best inner sums to the score of every pair; return the inner assignments."""
        width = self.symmetry.groups[child].size
        pairs = self.joint[child][outer].view(self.size, width, self.size, width)
        matrices = pairs.permute(0, 2, 1, 3).reshape(-1, width, width)
        best = assign_many(matrices)
        score += picked(matrices, best).view(self.size, self.size)
        self.num_solves += self.size**2
        return best.view(self.size, self.size, width)

    def _value(self, tree: Indices, indices: Indices, similarity: Tensor) -> float:
        """Return the part of the objective that the group and all within it make up."""
        rows = tree[self.group].reshape(-1, self.size)
        total = float(picked(similarity, rows).sum())
        if not self.all_seen:
            return total + sum(term.value(indices) for term in self.whole)
        for name in self.children:
            width = self.symmetry.groups[name].size
            inner = tree[name].reshape(-1, self.size, width)
            flat = rows[:, :, None] * width + inner
            total += float(picked(self.joint[name], flat.flatten(1)).sum())
        return total


def inner_groups(symmetry: Symmetry, group: str, block: Block) -> list[str]:
    """Return the groups on a block that nest in a group, each once."""
    names = dict.fromkeys(block.groups)
    return [n for n in names if n in symmetry.groups and group in symmetry.groups[n].within]


def _tail(index: Tensor, outer: Tensor) -> tuple[int, ...]:
    """Return the sizes of an inner index beyond those of its outer group."""
    return tuple(index.shape[outer.dim() :])
