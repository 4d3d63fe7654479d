"""Trees: a group and its nested groups, which are matched together.

`View` is a block of a tensor with the tree's own axes last and all other axes as rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from onebasin.symmetry._blocks import Block
from onebasin.symmetry._nesting import broadcast_index, outer_axes
from onebasin.symmetry.symmetry import Symmetry

Indices = Mapping[str, Tensor]


@dataclass(frozen=True)
class Tree:
    """A group with its nested groups.

    Args:
        root: the group.
        members: the root and its nested groups, outer ones first.
        nested_in: groups and fixed axes that each member is nested in, outermost first.
        sizes: sizes of the members and of their outer axes.
    """

    root: str
    members: tuple[str, ...]
    nested_in: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, int]

    @cached_property
    def parents(self) -> dict[str, str]:
        """The innermost member that each member except the root is nested in."""
        return {
            name: [outer for outer in self.nested_in[name] if outer in self.members][-1]
            for name in self.members[1:]
        }

    def children(self, name: str) -> tuple[str, ...]:
        """Return the members directly nested in a member."""
        return tuple(child for child, parent in self.parents.items() if parent == name)

    def subtree(self, name: str) -> tuple[str, ...]:
        """Return a member and all members nested in it."""
        return tuple(
            member for member in self.members if member == name or name in self.nested_in[member]
        )


def tree_of(symmetry: Symmetry, root: str) -> Tree:
    """Return a group with all groups nested in it."""
    groups = symmetry.groups
    inner = [name for name in groups if root in groups[name].nested_in]
    inner = [name for name in inner if _in_line(symmetry, root, name)]
    members = (root, *sorted(inner, key=lambda name: len(groups[name].nested_in)))
    nested_in = {name: groups[name].nested_in for name in members}
    names = dict.fromkeys((*members, *(outer for each in nested_in.values() for outer in each)))
    return Tree(root, members, nested_in, {name: symmetry.size_of(name) for name in names})


def _in_line(symmetry: Symmetry, root: str, name: str) -> bool:
    """Return whether the groups between a root and a group form a chain."""
    groups = symmetry.groups
    between = [n for n in groups[name].nested_in if n in groups and root in groups[n].nested_in]
    between.sort(key=lambda n: len(groups[n].nested_in))
    return all(outer in groups[inner].nested_in for outer, inner in pairwise(between))


@dataclass(frozen=True)
class Axes:
    """Named axes of a box and their nesting.

    Args:
        names: group or fixed axis of each.
        sizes: number of positions of each.
        outers: for each axis the indices of the axes that its group is nested in.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    outers: tuple[tuple[int, ...], ...]

    def old_positions(self, indices: Indices) -> Int64[Tensor, " p"]:
        """Return the old flattened position for every new one."""
        total = torch.zeros(self.sizes, dtype=torch.int64)
        for axis, (name, size, outer) in enumerate(
            zip(self.names, self.sizes, self.outers, strict=True)
        ):
            old, places = torch.arange(size), (axis,)
            if name in indices:
                old, places = indices[name], (*outer, axis)
            total += broadcast_index(old, places, len(self.sizes)) * prod(self.sizes[axis + 1 :])
        return total.flatten()


@dataclass(frozen=True)
class Key:
    """Axes of one similarity matrix of a tree.

    Args:
        outer: groups and fixed axes outside the tree that own members are nested in. Each of
            their positions has its own similarity matrix.
        own: members of the tree whose units are compared, each nested in the previous one.
        odd: signs of the members that change the sign of the values: `(member, number)`.
    """

    outer: tuple[str, ...]
    own: tuple[str, ...]
    odd: tuple[tuple[str, int], ...] = ()

    def axes(self, tree: Tree) -> Axes:
        """Return the axes of one side of the similarities."""
        names = (*self.outer, *self.own)
        # The index of an outer group does not matter: both sides share one position.
        nested_in = {name: tree.nested_in[name] for name in self.own}
        outers = tuple(tuple(names.index(o) for o in nested_in.get(name, ())) for name in names)
        return Axes(names, tuple(tree.sizes[name] for name in names), outers)

    def num_outer(self, tree: Tree) -> int:
        """Return the number of positions of the outer axes."""
        return prod(tree.sizes[name] for name in self.outer)

    def num_own(self, tree: Tree) -> int:
        """Return the number of units compared at each outer position."""
        return prod(tree.sizes[name] for name in self.own)


@dataclass(frozen=True)
class View:
    """A block as rows and own positions of a tree, `(outer * held, fixed, own)`.

    Args:
        tensor: name of the tensor.
        block: the block.
        key: key of the similarities.
        order: the block's axes: outer and held ones, fixed ones, own ones.
        held: axes whose permutations are held fixed while this group is matched.
        fixed: product of the sizes of the axes without a group.
        movable: the groups of the held axes.
    """

    tensor: str
    block: Block
    key: Key
    order: tuple[int, ...]
    held: Axes
    fixed: int
    movable: frozenset[str]

    @property
    def num_rows(self) -> int:
        """Number of rows, outer positions included."""
        return prod(self.held.sizes)

    @property
    def width(self) -> int:
        """Number of own positions."""
        return self.block.num_entries // (self.num_rows * self.fixed)

    def arrange(self, tensor: Tensor) -> Shaped[Tensor, "r f n"]:
        """Return the block's entries of a contiguous tensor: rows, fixed positions, own units."""
        block = self.block.view(tensor).permute(self.order)
        return block.reshape(self.num_rows, self.fixed, self.width)


def views_of(symmetry: Symmetry, tree: Tree, tensor: str, block: Block) -> list[View]:
    """Return the views of a block: one for each occurrence of the root.

    All other occurrences count as held, since a view is linear in its own axes. Occurrences that
    have no such form are left out.
    """
    nested_in = symmetry.nesting
    bound = outer_axes(block, nested_in, symmetry.shapes[tensor])
    names = [factor.group or "" for factor in block.factors]
    views = []
    for occurrence in [axis for axis, name in enumerate(names) if name == tree.root]:
        own = [occurrence]
        own += [a for a, n in enumerate(names) if n in tree.members and occurrence in bound[a]]
        own.sort(key=lambda axis: tree.members.index(names[axis]))
        chain = all(names[o] in nested_in[names[i]] for o, i in pairwise(own))
        view = _view(symmetry, tensor, block, own, bound) if chain else None
        views += [view] if view is not None else []
    return views


def _view(
    symmetry: Symmetry,
    tensor: str,
    block: Block,
    own: list[int],
    bound: tuple[tuple[int, ...], ...],
) -> View | None:
    names = [factor.group or "" for factor in block.factors]
    outer = list(dict.fromkeys(o for axis in own for o in bound[axis] if o not in own))
    others = [axis for axis in range(len(names)) if axis not in own and axis not in outer]
    held = [axis for axis in others if names[axis] in symmetry.groups]
    fixed = [axis for axis in others if axis not in held]
    if not outer and not held:
        held, fixed = fixed, []
    rows = [*outer, *held]
    moving = [axis for axis in rows if names[axis] in symmetry.groups]
    if any(o not in rows for axis in moving for o in bound[axis]):
        return None
    return View(
        tensor=tensor,
        block=block,
        key=Key(_pick(names, outer), _pick(names, own)),
        order=(*rows, *fixed, *own),
        held=Axes(
            _pick(names, rows),
            tuple(block.factors[axis].size for axis in rows),
            tuple(tuple(map(rows.index, bound[a])) if a in moving else () for a in rows),
        ),
        fixed=prod(block.factors[axis].size for axis in fixed),
        movable=frozenset(names[axis] for axis in moving),
    )


def _pick(names: list[str], axes: Iterable[int]) -> tuple[str, ...]:
    return tuple(names[axis] for axis in axes)
