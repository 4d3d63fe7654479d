"""Moving the entries of one tensor: from index tensors per group to gathers.

Owns the plan that turns a tensor's layouts into one index vector per dimension, and the
block by block gather for groups that nest in another dimension of the tensor.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onebasin.symmetry.blocks import Block, blocks_of
from onebasin.symmetry.layouts import Family, Layout, Sum, children
from onebasin.symmetry.nesting import dimension_of, outer_axes, spread
from onebasin.symmetry.symmetry import Symmetry


class Mover:
    """Applies the indices of a permutation to one tensor after the other.

    Args:
        symmetry: groups and layouts.
        indices: an index tensor per group, as `Permutation` holds them.
    """

    def __init__(self, symmetry: Symmetry, indices: Mapping[str, Tensor]) -> None:
        """Compute nothing yet: index vectors are made when a layout first asks for them."""
        self._symmetry = symmetry
        self._indices = indices
        self._within = {name: group.within for name, group in symmetry.groups.items()}
        self._vectors: dict[Layout, Tensor | None] = {}

    def move(self, name: str, tensor: Tensor) -> Tensor:
        """Return a moved copy of the symmetry's tensor `name`."""
        layouts = self._symmetry.layouts[name]
        alone = [stands_alone(layout, self._within) for layout in layouts]
        vectors = [
            self._vector(layout) if own else None
            for layout, own in zip(layouts, alone, strict=True)
        ]
        moved = select(tensor, vectors)
        bound = {i for i, own in enumerate(alone) if not own}
        return self._gather_blocks(name, moved, bound) if bound else moved

    def _vector(self, layout: Layout) -> Tensor | None:
        """Return the old position for every new position along a dimension; None if unmoved."""
        if layout not in self._vectors:
            vector = torch.empty(layout.size, dtype=torch.int64)
            for block in blocks_of([layout]):
                old = torch.tensor(block.offset)
                for factor, step in zip(
                    block.factors, self._positions(block, (layout.size,), {0}), strict=True
                ):
                    old = old + step * factor.stride
                block.view(vector).copy_(old)
            moves = not torch.equal(vector, torch.arange(layout.size))
            self._vectors[layout] = vector if moves else None
        return self._vectors[layout]

    def _positions(self, block: Block, shape: Sequence[int], dims: set[int]) -> list[Tensor]:
        """For each axis of a block the old positions along it; axes off `dims` stay."""
        outers = outer_axes(block, self._within, shape)
        positions = []
        for axis, factor in enumerate(block.factors):
            moves = factor.group in self._indices and dimension_of(factor, shape) in dims
            index = self._indices[factor.group or ""] if moves else torch.arange(factor.size)
            axes = (*outers[axis], axis) if moves else (axis,)
            positions.append(spread(index, axes, len(block.factors)))
        return positions

    def _gather_blocks(self, name: str, tensor: Tensor, dims: set[int]) -> Tensor:
        """Move the dimensions whose groups nest in other dimensions, which have moved before."""
        source = tensor.contiguous()
        result = torch.empty_like(source)
        for block in self._symmetry.blocks[name]:
            steps = self._positions(block, source.shape, dims)
            steps = [step.to(source.device) for step in steps]
            view = block.view(source)
            block.view(result).copy_(view[tuple(steps)] if steps else view)
        return result


def stands_alone(layout: Layout, within: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether a dimension's order is settled without looking at other dimensions.

    That is so when it has every outer of every group it carries, in each of its blocks, and
    the sums that its families refer to.
    """
    if not _sum_keys(layout) >= _family_keys(layout):
        return False
    return all(
        set(within.get(group, ())) <= set(block.groups)
        for block in blocks_of([layout])
        for group in block.groups
    )


def _sum_keys(layout: Layout) -> set[str]:
    own = {layout.key} if isinstance(layout, Sum) and layout.key else set()
    return own.union(*map(_sum_keys, children(layout)))


def _family_keys(layout: Layout) -> set[str]:
    own = {layout.key} if isinstance(layout, Family) else set()
    return own.union(*map(_family_keys, children(layout)))


def select(tensor: Tensor, vectors: Sequence[Tensor | None]) -> Tensor:
    """Return a copy of a tensor with an index vector applied along each dimension.

    Args:
        tensor: any dtype and device.
        vectors: per dimension the old position for every new one, or None to keep it.
    """
    moved = tensor
    for dim, vector in enumerate(vectors):
        if vector is not None:
            moved = moved.index_select(dim, vector.to(tensor.device))
    return tensor.clone() if moved is tensor else moved


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
        holder, result = self._known.get(_memory(tensor, layouts), (None, None))
        return result if holder is not None and holder() is not None else None

    def keep(self, tensor: Tensor, layouts: object, result: Tensor) -> None:
        """Remember the result of a tensor for as long as the tensor lives."""
        self._known[_memory(tensor, layouts)] = (weakref.ref(tensor), result)


def _memory(tensor: Tensor, layouts: object) -> object:
    place = tensor.data_ptr() or id(tensor)
    return place, tensor.shape, tensor.stride(), tensor.dtype, tensor.device, layouts
