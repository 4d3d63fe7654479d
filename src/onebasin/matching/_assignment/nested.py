"""Nested assignment: the best joint assignment of a group and its nested groups.

The value of the best inner assignment of two outer units is their similarity. Then the outer
units are assigned, together with the inner assignments of the chosen pairs. Deeper trees
recurse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from onebasin.matching._assignment.linear import assign_many
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree

Choices = dict[str, Tensor]
Assignment = Callable[..., Tensor]


@dataclass(frozen=True)
class _Part:
    """Similarities of a stack of problems, `(problems, *outer, *own, *own)`.

    Args:
        outer: fixed axes and groups outside the tree that are not part of the stack yet.
        own: members of the tree.
        values: the similarities.
    """

    outer: tuple[str, ...]
    own: tuple[str, ...]
    values: Tensor


class NestedSolver:
    """Solver of one tree of groups.

    Args:
        tree: the tree.
        num_threads: number of threads for stacks of assignments.
        assignment: solver for a stack of problems; exact by default.
        values: for members whose units are not assigned but mixed: function from their
            similarities to the value of the best maps. Their indices do not change.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        num_threads: int = 1,
        assignment: Assignment = assign_many,
        values: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> None:
        self.tree, self.num_threads, self.assignment = tree, num_threads, assignment
        self.values = values or {}
        self.orders = {name: self._order(name) for name in tree.members}

    def _order(self, name: str) -> tuple[str, ...]:
        """Return the outer axes of a member in the order of the recursion."""
        if name == self.tree.root:
            return self.tree.nested_in[name]
        parent = self.tree.parents[name]
        taken = (*self._order(parent), parent)
        return (*taken, *(outer for outer in self.tree.nested_in[name] if outer not in taken))

    def solve(
        self, sums: Mapping[Key, Tensor], indices: Indices, perturbation: float = 0.0
    ) -> dict[str, Tensor]:
        """Return the best index of every member of the tree.

        Args:
            sums: similarities by key, `(outer, own, own)`.
            indices: current indices of all members.
            perturbation: if positive, the fraction of their advantage over the average pair that
                the current pairs of root units lose. If negative, the damping: the bonus of the
                current pairs, in units of the advantage of the best pairs.
        """
        frame = self.tree.nested_in[self.tree.root]
        parts = [self._part(key, values, frame) for key, values in sums.items()]
        present = {}
        for name in self.tree.members:
            order, nested_in = self.orders[name], self.tree.nested_in[name]
            index = indices[name].permute(*map(nested_in.index, order), len(order))
            present[name] = index.reshape(-1, *index.shape[len(frame) :])
        _, choices = self._best(self.tree.root, parts, present, perturbation)
        return {name: self._restored(name, choices[name]) for name in self.tree.members}

    def _part(self, key: Key, values: Tensor, frame: tuple[str, ...]) -> _Part:
        outer = tuple(name for name in key.outer if name not in frame)
        places = [key.outer.index(name) for name in (*frame, *outer)]
        sizes = [self.tree.sizes[name] for name in (*key.outer, *key.own, *key.own)]
        values = values.view(sizes).permute(*places, *range(len(places), len(sizes)))
        return _Part(outer, key.own, values.reshape(-1, *values.shape[len(frame) :]))

    def _restored(self, name: str, index: Tensor) -> Tensor:
        order, nested_in = self.orders[name], self.tree.nested_in[name]
        index = index.reshape(*(self.tree.sizes[outer] for outer in order), index.shape[-1])
        return index.permute(*map(order.index, nested_in), len(order)).contiguous()

    def _best(
        self, name: str, parts: list[_Part], present: Choices, perturbation: float = 0.0
    ) -> tuple[Tensor, Choices]:
        """Solve a stack of problems for one member and its nested members.

        Args:
            name: the member.
            parts: similarities of the member and its nested members.
            present: current indices, `(problems, remaining outers.., n)` for each member.
            perturbation: see `solve`.

        Returns:
            The value of every problem in float64, and the choices in the form of `present`.
        """
        problems, depth = present[name].shape[0], present[name].dim() - 2
        extra = self.orders[name][len(self.orders[name]) - depth :] if depth else ()
        present = {each: index.flatten(0, depth) for each, index in present.items()}
        parts = [_taken(part, extra) for part in parts]
        size = self.tree.sizes[name]
        own = [part.values for part in parts if part.own == (name,)]
        inner = [part for part in parts if part.own != (name,)]
        total = own[0] if own else torch.zeros(len(present[name]), size, size)
        found: Choices = {}
        if inner:
            values, found = self._best_inside(name, inner, present)
            total = total.double() + values.view(total.shape)
        mixed = self.values.get(name)
        chosen = present[name] if mixed else self._assign(total, present[name], perturbation)
        choices = {name: chosen}
        for each in self.tree.subtree(name)[1:]:
            choices[each] = _of_chosen(present[each], found.get(each), chosen)
        value = mixed(total) if mixed else total.gather(2, chosen[..., None]).double().sum((1, 2))
        shape = [self.tree.sizes[outer] for outer in extra]
        choices = {k: v.reshape(problems, *shape, *v.shape[1:]) for k, v in choices.items()}
        return value.view(problems, -1).sum(1), choices

    def _best_inside(
        self, name: str, parts: list[_Part], present: Choices
    ) -> tuple[Tensor, Choices]:
        """Solve the nested members for every pair of units."""
        size = self.tree.sizes[name]
        inner = [_inside(part) for part in parts]
        value = torch.zeros(inner[0].values.shape[0], dtype=torch.float64)
        choices: Choices = {}
        for child in self.tree.children(name):
            subtree = self.tree.subtree(child)
            of_child = [part for part in inner if part.own[0] == child]
            if of_child:
                pairs = {each: _of_pairs(present[each], size) for each in subtree}
                gain, found = self._best(child, of_child, pairs)
                value, choices = value + gain, choices | found
        return value, choices

    def _assign(
        self, total: Float[Tensor, "b n n"], present: Int[Tensor, "b n"], perturbation: float
    ) -> Int[Tensor, "b n"]:
        if perturbation:
            now = total.gather(2, present[..., None]).mean((1, 2))
            scale = now - total.mean((1, 2)) if perturbation > 0 else total.amax(2).mean(1) - now
            change = (-perturbation * scale.clamp(min=0)).to(total.dtype)
            change = change[:, None, None].expand(*present.shape, 1)
            total = total.scatter_add(2, present[..., None], change)
        return self.assignment(total, num_threads=self.num_threads)


def _taken(part: _Part, extra: tuple[str, ...]) -> _Part:
    """Move some outer axes into the stack."""
    if not extra:
        return part
    places = [part.outer.index(outer) for outer in extra]
    rest = [i for i in range(len(part.outer)) if i not in places]
    tail = range(1 + len(part.outer), part.values.dim())
    values = part.values.permute(0, *(1 + i for i in (*places, *rest)), *tail)
    outer = tuple(part.outer[i] for i in rest)
    return _Part(outer, part.own, values.flatten(0, len(extra)))


def _inside(part: _Part) -> _Part:
    """Move the pairs of the first own member into the stack."""
    first = 1 + len(part.outer)
    second = first + len(part.own)
    rest = [i for i in range(1, part.values.dim()) if i not in (first, second)]
    values = part.values.permute(0, first, second, *rest)
    return _Part(part.outer, part.own[1:], values.flatten(0, 2))


def _of_pairs(index: Int[Tensor, "b n *inner"], size: int) -> Int[Tensor, " b*n*{size} *inner"]:
    """Return the inner indices, repeated for every pair of units."""
    return index[:, :, None].expand(-1, -1, size, *index.shape[2:]).flatten(0, 2)


def _of_chosen(
    present: Int[Tensor, "b n *inner"],
    found: Int[Tensor, " b*n*n *inner"] | None,
    chosen: Int[Tensor, "b n"],
) -> Int[Tensor, "b n *inner"]:
    """Return the inner choices of the chosen pairs."""
    if found is None:
        return present
    problems, size = chosen.shape
    pairs = found.view(problems, size, size, *found.shape[1:])
    return pairs[torch.arange(problems)[:, None], torch.arange(size), chosen]
