"""Nesting inside a block: which axes of a tensor select the order along which other axis.

Owns the assignment of nested axes to outer axes, and the broadcasting of index tensors over
the axes they depend on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod

from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.symmetry._blocks import Block, Factor


def dimension_of(factor: Factor, shape: Sequence[int]) -> int:
    """Return the dimension of a contiguous tensor of this shape that contains a block's axis.

    An axis of size 1 may fit several dimensions; the last one is returned.
    """
    strides = [prod(shape[i + 1 :]) for i in range(len(shape))]
    reach = factor.stride * factor.size
    fits = [
        i
        for i, (stride, size) in enumerate(zip(strides, shape, strict=True))
        if stride <= factor.stride and reach <= stride * size
    ]
    assert fits, f"{factor} fits no dimension of {tuple(shape)}"
    return fits[-1]


def outer_axes(
    block: Block, nested_in: Mapping[str, tuple[str, ...]], shape: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Return the axes of the groups that each axis of a block nests in.

    If a block has an outer group more than once, the occurrence in the same dimension is
    used, else the first one.

    Args:
        block: a block of a contiguous tensor.
        nested_in: for each group the groups and fixed axes it nests in, outermost first.
        shape: the tensor's shape.

    Returns:
        One tuple per axis, in the order of `nested_in`; empty for axes that do not nest.
    """
    dims = [dimension_of(factor, shape) for factor in block.factors]
    return tuple(
        tuple(
            _outer_axis(block, dims, axis, name) for name in nested_in.get(factor.group or "", ())
        )
        for axis, factor in enumerate(block.factors)
    )


def _outer_axis(block: Block, dims: Sequence[int], axis: int, name: str) -> int:
    axes = [i for i, factor in enumerate(block.factors) if factor.group == name]
    assert axes, f"a block has group {block.factors[axis].group!r} without outer group {name!r}"
    same_dim = [i for i in axes if dims[i] == dims[axis]]
    return (same_dim or axes)[0]


def broadcast_index(index: Tensor, axes: Sequence[int], num_axes: int) -> Tensor:
    """Return an index tensor with its dimensions along chosen axes and size 1 elsewhere.

    Args:
        index: one dimension for each entry of `axes`.
        axes: distinct axes, in any order.
        num_axes: number of axes of the result.

    Example:
        >>> import torch
        >>> broadcast_index(torch.zeros(2, 3), (3, 1), 4).shape
        torch.Size([1, 3, 1, 2])
    """
    order = sorted(range(len(axes)), key=lambda i: axes[i])
    shape = [1] * num_axes
    for i in order:
        shape[axes[i]] = index.shape[i]
    return index.permute(order).reshape(shape)


def check_nesting(
    nesting: Mapping[str, tuple[str, ...]],
    axes: Collection[str],
    blocks: Mapping[str, Sequence[Block]],
) -> None:
    """Check that outer groups exist, that nesting is transitive, and that tensors have all outers.

    Args:
        nesting: the groups and fixed axes that each group nests in, outermost first.
        axes: names of the fixed axes.
        blocks: the blocks of each tensor.

    Raises:
        OneBasinError: naming the group, its outer group, and the tensor if one is invalid.
    """
    for name, outers in nesting.items():
        for outer in outers:
            if outer == name or (outer not in nesting and outer not in axes):
                raise OneBasinError(
                    f"group {name!r} nests in {outer!r}, which is not another group or a fixed"
                    " axis; use the name of a group or axis of some tensor"
                )
            missing = set(nesting.get(outer, ())) - set(outers)
            if missing or name in nesting.get(outer, ()):
                raise OneBasinError(
                    f"group {name!r} nests in {outer!r} and therefore in all outer groups of"
                    f" {outer!r}; list {min(missing, default=name)!r} before it, and avoid cycles"
                )
    for tensor, tensor_blocks in blocks.items():
        for block in tensor_blocks:
            for name in block.groups:
                missing = set(nesting.get(name, ())) - set(block.groups)
                if missing:
                    raise OneBasinError(
                        f"tensor {tensor!r} has group {name!r} without its outer group"
                        f" {min(missing)!r}; give both, or do not nest"
                    )
