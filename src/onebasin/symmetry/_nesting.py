"""Nesting inside a block: which axis of a tensor selects the order of which other axis.

Owns the rule that binds each axis of a nested group to the axes of its outer groups, and
the arithmetic that spreads an index tensor over the axes it depends on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.symmetry._blocks import Block, Factor
from onebasin.symmetry.symmetry import Symmetry


def dimension_of(factor: Factor, shape: Sequence[int]) -> int:
    """Return the dimension of a contiguous tensor of this shape that a block's axis lies in.

    An axis of size 1 has no position to tell; the last dimension that fits is returned.
    """
    strides = [prod(shape[i + 1 :]) for i in range(len(shape))]
    reach = factor.stride * factor.size
    fits = [
        i
        for i, (stride, size) in enumerate(zip(strides, shape, strict=True))
        if stride <= factor.stride and reach <= stride * size
    ]
    assert fits, f"{factor} lies in no dimension of {tuple(shape)}"
    return fits[-1]


def outer_axes(
    block: Block, nested_in: Mapping[str, tuple[str, ...]], shape: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """For each axis of a block, return the axes of the groups it nests in.

    Where a block carries an outer group more than once, an axis belongs to the occurrence
    in its own dimension, else to the first one.

    Args:
        block: a block of a contiguous tensor.
        nested_in: for each group the groups and fixed axes it nests in, outermost first.
        shape: the tensor's shape.

    Returns:
        One tuple per axis, in the order of `nested_in`; empty where nothing nests.
    """
    dims = [dimension_of(factor, shape) for factor in block.factors]
    return tuple(
        tuple(
            _outer_axis(block, dims, axis, name) for name in nested_in.get(factor.group or "", ())
        )
        for axis, factor in enumerate(block.factors)
    )


def _outer_axis(block: Block, dims: Sequence[int], axis: int, name: str) -> int:
    found = [i for i, factor in enumerate(block.factors) if factor.group == name]
    assert found, f"a block carries {block.factors[axis].group!r} without its outer {name!r}"
    near = [i for i in found if dims[i] == dims[axis]]
    return (near or found)[0]


def spread(index: Tensor, axes: Sequence[int], num_axes: int) -> Tensor:
    """Return an index tensor with its dimensions laid along chosen axes, all others size 1.

    Args:
        index: one dimension for each entry of `axes`.
        axes: distinct axes, in any order.
        num_axes: number of axes of the result.

    Example:
        >>> import torch
        >>> spread(torch.zeros(2, 3), (3, 1), 4).shape
        torch.Size([1, 3, 1, 2])
    """
    order = sorted(range(len(axes)), key=lambda i: axes[i])
    shape = [1] * num_axes
    for i in order:
        shape[axes[i]] = index.shape[i]
    return index.permute(order).reshape(shape)


def check_nesting(symmetry: Symmetry) -> None:
    """Check that groups nest soundly: outers exist, close under nesting and are carried along.

    Raises:
        OneBasinError: naming the group, what it nests in, and the tensor where one is wrong.
    """
    groups = symmetry.groups
    for name, group in groups.items():
        for outer in group.nested_in:
            if outer == name or (outer not in groups and outer not in symmetry.axes):
                raise OneBasinError(
                    f"group {name!r} nests in {outer!r}, which is no other group and no fixed"
                    " axis; name one that some tensor carries"
                )
            missing = set(groups[outer].nested_in if outer in groups else ()) - set(group.nested_in)
            if missing or (outer in groups and name in groups[outer].nested_in):
                raise OneBasinError(
                    f"group {name!r} nests in {outer!r} and so in everything that one nests in;"
                    f" {min(missing, default=name)!r} must stand before it, never inside"
                )
    for tensor, blocks in symmetry.blocks.items():
        for block in blocks:
            for name in block.groups:
                missing = set(groups[name].nested_in if name in groups else ()) - set(block.groups)
                if missing:
                    raise OneBasinError(
                        f"tensor {tensor!r} carries group {name!r} without {min(missing)!r}, which"
                        " it nests in; give both, or do not nest"
                    )
