"""Moving the entries of one tensor: from index tensors per group to gathers.

Owns the plan that turns a tensor's layouts into one index vector per dimension, and the
block by block gather for groups that nest in another dimension of the tensor.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onebasin.symmetry._blocks import Block, blocks_of
from onebasin.symmetry._gather import reorder, select
from onebasin.symmetry._nesting import dimension_of, outer_axes, spread
from onebasin.symmetry._ties import memory_of
from onebasin.symmetry.layouts import Family, Layout, Sum, children
from onebasin.symmetry.symmetry import Symmetry


class Mover:
    """Applies the indices of a permutation to one tensor after the other.

    Args:
        symmetry: groups and layouts.
        indices: an index tensor per group, as `Permutation` holds them; a group without one
            stays as it is.
        alone: answers of `stands_alone`, kept by the caller for other movers of the symmetry.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        indices: Mapping[str, Tensor],
        *,
        alone: dict[Layout, bool] | None = None,
    ) -> None:
        """Compute nothing yet: index vectors are made when a layout first asks for them."""
        self._symmetry = symmetry
        self._indices = indices
        self._nested_in = symmetry.nesting
        self._vectors: dict[Layout, Tensor | None] = {}
        self._alone: dict[Layout, bool] = {} if alone is None else alone

    def move(self, name: str, tensor: Tensor) -> Tensor:
        """Return a moved copy of the symmetry's tensor `name`."""
        layouts = self._symmetry.layouts[name]
        vectors = [self._vector(layout) if self._is_alone(layout) else None for layout in layouts]
        moved = select(tensor, vectors)
        bound = {i for i, layout in enumerate(layouts) if not self._is_alone(layout)}
        return self._reorder_blocks(name, moved, bound) if bound else moved

    def _is_alone(self, layout: Layout) -> bool:
        if layout not in self._alone:
            self._alone[layout] = stands_alone(layout, self._nested_in)
        return self._alone[layout]

    def _vector(self, layout: Layout) -> Tensor | None:
        """Return the old position for every new position along a dimension; None if unmoved."""
        if layout not in self._vectors:
            if isinstance(layout, Sum) and not layout.key:
                vector = self._joined(layout.parts)
            else:
                vector = self._by_blocks(layout)
            moves = not torch.equal(vector, torch.arange(layout.size))
            self._vectors[layout] = vector if moves else None
        return self._vectors[layout]

    def _joined(self, parts: Sequence[Layout]) -> Tensor:
        """Return the old positions of parts that lie one after the other."""
        vectors, offset = [], 0
        for part in parts:
            vector = self._vector(part)
            vectors.append((torch.arange(part.size) if vector is None else vector) + offset)
            offset += part.size
        return torch.cat(vectors)

    def _by_blocks(self, layout: Layout) -> Tensor:
        vector = torch.empty(layout.size, dtype=torch.int64)
        for block in blocks_of([layout]):
            old = torch.tensor(block.offset)
            orders = self._orders(block, (layout.size,), {0})
            for axis, factor in enumerate(block.factors):
                still = spread(torch.arange(factor.size), (axis,), len(block.factors))
                old = old + orders.get(axis, still) * factor.stride
            block.view(vector).copy_(old)
        return vector

    def _orders(self, block: Block, shape: Sequence[int], dims: set[int]) -> dict[int, Tensor]:
        """For each axis in `dims` that moves, outer axes first, its index spread over the block.

        In this order the axes can be moved one after the other: an index is laid out by the
        new positions of the outer axes.
        """
        outers = outer_axes(block, self._nested_in, shape)
        orders = {}
        for axis in sorted(range(len(outers)), key=lambda axis: len(outers[axis])):
            group = block.factors[axis].group or ""
            if group in self._indices and dimension_of(block.factors[axis], shape) in dims:
                orders[axis] = spread(self._indices[group], (*outers[axis], axis), len(outers))
        return orders

    def _reorder_blocks(self, name: str, tensor: Tensor, dims: set[int]) -> Tensor:
        """Move the dimensions whose groups nest in other dimensions, which have moved before."""
        source = tensor.contiguous()
        result = torch.empty_like(source)
        for block in self._symmetry.blocks[name]:
            view = block.view(source)
            for axis, index in self._orders(block, source.shape, dims).items():
                view = reorder(view, axis, index)
            block.view(result).copy_(view)
        return result


def stands_alone(layout: Layout, nested_in: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether a dimension's order is settled without looking at other dimensions.

    That is so when it has every outer of every group it carries, in each of its blocks, and
    the sums that its families refer to.
    """
    if not _sum_keys(layout) >= _family_keys(layout):
        return False
    return all(
        set(nested_in.get(group, ())) <= set(block.groups)
        for block in blocks_of([layout])
        for group in block.groups
    )


def _sum_keys(layout: Layout) -> set[str]:
    own = {layout.key} if isinstance(layout, Sum) and layout.key else set()
    return own.union(*map(_sum_keys, children(layout)))


def _family_keys(layout: Layout) -> set[str]:
    own = {layout.key} if isinstance(layout, Family) else set()
    return own.union(*map(_family_keys, children(layout)))


class SharedResults:
    """Remembers results by the memory of their input, so that what is tied stays tied.

    Holds its inputs weakly: a tensor that a lazy mapping made and dropped is forgotten
    before its memory can be mistaken for another's.
    """

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._known: dict[object, tuple[weakref.ref[Tensor], Tensor]] = {}

    def find(self, tensor: Tensor, layouts: object) -> Tensor | None:
        """Return the result kept for a tensor in the same memory with the same layouts."""
        holder, result = self._known.get((memory_of(tensor), layouts), (None, None))
        return result if holder is not None and holder() is not None else None

    def keep(self, tensor: Tensor, layouts: object, result: Tensor) -> None:
        """Remember the result of a tensor for as long as the tensor lives."""
        self._known[memory_of(tensor), layouts] = (weakref.ref(tensor), result)
