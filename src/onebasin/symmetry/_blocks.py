"""Blocks: the normal form of a tensor under a symmetry.

Layouts of products, sums and families cut a tensor into strided boxes. Each axis of a box
is a single group or fixed. Permutation, matching and averaging operate on blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from torch import Tensor

from onebasin.symmetry.layouts import Family, Fixed, Layout, Product, Sum, Units, children


@dataclass(frozen=True)
class Factor:
    """One axis of a block.

    Args:
        size: number of positions.
        stride: distance between neighbors, in entries of the contiguous tensor.
        group: name of the group or fixed axis of the units, or None.
    """

    size: int
    stride: int
    group: str | None = None


@dataclass(frozen=True)
class Block:
    """A strided box of a contiguous tensor.

    Args:
        offset: index of its first entry in the flattened tensor.
        factors: axes in the order of the tensor's dimensions, outermost first.
    """

    offset: int
    factors: tuple[Factor, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(factor.size for factor in self.factors)

    @property
    def num_entries(self) -> int:
        """Number of tensor entries in the block."""
        return prod(self.shape)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the block's groups and axes, in axis order, with repetitions."""
        return tuple(factor.group for factor in self.factors if factor.group is not None)

    def groups_at(self, name: str) -> tuple[int, ...]:
        """Return the indices of the axes with a given group."""
        return tuple(i for i, factor in enumerate(self.factors) if factor.group == name)

    def view(self, tensor: Tensor) -> Tensor:
        """Return the block as a view of a contiguous tensor, one dimension per factor."""
        assert tensor.is_contiguous(), "blocks are views of contiguous tensors"
        strides = [factor.stride for factor in self.factors]
        return tensor.as_strided(self.shape, strides, tensor.storage_offset() + self.offset)


def blocks_of(layouts: Sequence[Layout]) -> tuple[Block, ...]:
    """Return the blocks of a tensor with these layouts, one layout per dimension.

    The blocks are disjoint and cover every entry. A scalar is one block without factors.

    Example:
        >>> from onebasin.symmetry.layouts import Fixed, Sum, Units
        >>> for block in blocks_of([Sum((Units("q", 4), Units("k", 4))), Fixed(3)]):
        ...     print(block.offset, block.shape, block.groups)
        0 (4, 3) ('q',)
        12 (4, 3) ('k',)
    """
    strides = [prod(layout.size for layout in layouts[i + 1 :]) for i in range(len(layouts))]
    sums = {key: size for layout in layouts for key, size in _keyed_sums(layout)}
    blocks = []
    for choice in product(*(range(size) for size in sums.values())):
        chosen = dict(zip(sums, choice, strict=True))
        boxes = [
            tuple(_boxes(layout, stride, chosen))
            for layout, stride in zip(layouts, strides, strict=True)
        ]
        blocks += [_join(parts) for parts in product(*boxes)]
    # A keyed sum inside an unselected part yields the same block repeatedly: drop repeats.
    return tuple(dict.fromkeys(blocks))


def _keyed_sums(layout: Layout) -> Iterator[tuple[str, int]]:
    if isinstance(layout, Sum) and layout.key:
        yield layout.key, len(layout.parts)
    for child in children(layout):
        yield from _keyed_sums(child)


def _join(parts: tuple[Block, ...]) -> Block:
    offset = sum(part.offset for part in parts)
    return Block(offset, tuple(factor for part in parts for factor in part.factors))


def _boxes(layout: Layout, stride: int, chosen: dict[str, int]) -> Iterator[Block]:
    """Yield the boxes of one dimension under the chosen parts of the keyed sums."""
    match layout:
        case Fixed(size, _):
            yield Block(0, (Factor(size, stride),))
        case Units(group, size):
            yield Block(0, (Factor(size, stride, group),))
        case Product(factors):
            inner = [prod(f.size for f in factors[i + 1 :]) for i in range(len(factors))]
            boxes = [
                tuple(_boxes(factor, stride * step, chosen))
                for factor, step in zip(factors, inner, strict=True)
            ]
            yield from map(_join, product(*boxes))
        case Family(key, members):
            yield from _boxes(members[chosen[key]], stride, chosen)
        case Sum(parts, key):
            offset = 0
            for i, part in enumerate(parts):
                if not key or chosen[key] == i:
                    for box in _boxes(part, stride, chosen):
                        yield Block(box.offset + offset * stride, box.factors)
                offset += part.size
