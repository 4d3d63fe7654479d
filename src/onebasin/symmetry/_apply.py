"""Permutation of the entries of one tensor.

Owns the conversion of layouts into one index vector per dimension. Groups that nest in
another dimension of the tensor are applied block by block.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onebasin.symmetry._blocks import Block, blocks_of
from onebasin.symmetry._gather import index_dims, take_along_axis
from onebasin.symmetry._modules import memory_of
from onebasin.symmetry._nesting import broadcast_index, dimension_of, outer_axes
from onebasin.symmetry.layouts import Family, Layout, Sum, children
from onebasin.symmetry.symmetry import Symmetry


class IndexApplier:
    """Applies the indices of a permutation to single tensors.

    Args:
        symmetry: groups and layouts.
        indices: an index tensor per group, as in `Permutation`; a group without an index does
            not move.
        self_contained: cache of `is_self_contained`, shared by appliers of one symmetry.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        indices: Mapping[str, Tensor],
        *,
        self_contained: dict[Layout, bool] | None = None,
    ) -> None:
        """Store the arguments; index vectors are computed on first use."""
        self._symmetry = symmetry
        self._indices = indices
        self._nested_in = symmetry.nesting
        self._vectors: dict[Layout, Tensor | None] = {}
        self._self_contained: dict[Layout, bool] = {} if self_contained is None else self_contained

    def apply_to_tensor(self, name: str, tensor: Tensor) -> Tensor:
        """Return a permuted copy of the tensor `name`."""
        layouts = self._symmetry.layouts[name]
        vectors = [
            self._vector(layout) if self._is_self_contained(layout) else None for layout in layouts
        ]
        moved = index_dims(tensor, vectors)
        bound = {i for i, layout in enumerate(layouts) if not self._is_self_contained(layout)}
        return self._reorder_blocks(name, moved, bound) if bound else moved

    def _is_self_contained(self, layout: Layout) -> bool:
        if layout not in self._self_contained:
            self._self_contained[layout] = is_self_contained(layout, self._nested_in)
        return self._self_contained[layout]

    def _vector(self, layout: Layout) -> Tensor | None:
        """Return the old position for every new position; None if the dimension does not move."""
        if layout not in self._vectors:
            if isinstance(layout, Sum) and not layout.key:
                vector = self._joined(layout.parts)
            else:
                vector = self._by_blocks(layout)
            moves = not torch.equal(vector, torch.arange(layout.size))
            self._vectors[layout] = vector if moves else None
        return self._vectors[layout]

    def _joined(self, parts: Sequence[Layout]) -> Tensor:
        """Return the old positions of concatenated parts."""
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
                identity = broadcast_index(torch.arange(factor.size), (axis,), len(block.factors))
                old = old + orders.get(axis, identity) * factor.stride
            block.view(vector).copy_(old)
        return vector

    def _orders(self, block: Block, shape: Sequence[int], dims: set[int]) -> dict[int, Tensor]:
        """Return the broadcast index of each moving axis in `dims`, outer axes first.

        The axes can be permuted one after the other in this order, because an index is
        arranged by the new positions of the outer axes.
        """
        outers = outer_axes(block, self._nested_in, shape)
        orders = {}
        for axis in sorted(range(len(outers)), key=lambda axis: len(outers[axis])):
            group = block.factors[axis].group or ""
            if group in self._indices and dimension_of(block.factors[axis], shape) in dims:
                orders[axis] = broadcast_index(
                    self._indices[group], (*outers[axis], axis), len(outers)
                )
        return orders

    def _reorder_blocks(self, name: str, tensor: Tensor, dims: set[int]) -> Tensor:
        """Permute the dimensions whose groups nest in other, already permuted dimensions."""
        source = tensor.contiguous()
        result = torch.empty_like(source)
        for block in self._symmetry.blocks[name]:
            view = block.view(source)
            for axis, index in self._orders(block, source.shape, dims).items():
                view = take_along_axis(view, axis, index)
            block.view(result).copy_(view)
        return result


def is_self_contained(layout: Layout, nested_in: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether the order of a dimension is independent of other dimensions.

    This holds if each block contains the outer groups of all its groups, and the layout
    contains the sums that its families refer to.
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
    """Caches results by the memory of their input, so tied tensors stay tied.

    Inputs are held weakly: the entry of a dropped tensor expires before its memory can be
    reused.
    """

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._known: dict[object, tuple[weakref.ref[Tensor], Tensor]] = {}

    def find(self, tensor: Tensor, layouts: object) -> Tensor | None:
        """Return the cached result for the same memory and layouts, if any."""
        holder, result = self._known.get((memory_of(tensor), layouts), (None, None))
        return result if holder is not None and holder() is not None else None

    def keep(self, tensor: Tensor, layouts: object, result: Tensor) -> None:
        """Cache the result of a tensor while the tensor is alive."""
        self._known[memory_of(tensor), layouts] = (weakref.ref(tensor), result)
