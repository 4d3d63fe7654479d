"""The sites of all values of a graph: where the units of each group are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from onebasin.symmetry._blocks import Block, blocks_of
from onebasin.symmetry._classes.moves import Index, flat, unflat
from onebasin.symmetry._classes.relations import Site
from onebasin.symmetry.layouts import Layout


@dataclass(frozen=True)
class Place:
    """A site with two neighboring units of its group.

    Args:
        site: the site.
        first: index of an entry of the first unit.
        second: index of the same entry of the second unit.
    """

    site: Site
    first: Index
    second: Index

    @property
    def dim(self) -> int:
        """The dimension of the value that contains the units."""
        pairs = zip(self.first, self.second, strict=True)
        return next(d for d, (a, b) in enumerate(pairs) if a != b)


@dataclass(frozen=True)
class ValueSites:
    """The sites of one value.

    Args:
        name: name of the value.
        layouts: layout of each dimension.
        groups: names of the groups; other axes are not sites.
    """

    name: str
    layouts: Sequence[Layout]
    groups: Collection[str]

    @cached_property
    def shape(self) -> Index:
        """Sizes of the dimensions."""
        return tuple(layout.size for layout in self.layouts)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the value."""
        return blocks_of(self.layouts)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """All sites."""
        return tuple(self._places())

    def _places(self) -> Iterator[Place]:
        if 0 in self.shape:
            return
        for number, block in enumerate(self.blocks):
            first = unflat(block.offset, self.shape)
            for axis, factor in enumerate(block.factors):
                if factor.group in self.groups and factor.size > 1:
                    second = unflat(block.offset + factor.stride, self.shape)
                    site = Site(self.name, number, axis, str(factor.group))
                    yield Place(site, first, second)

    def find(self, group: str, first: Index, second: Index) -> Site | None:
        """Return the site that contains neighboring units of a group, or None."""
        start = flat(first, self.shape)
        stride = flat(second, self.shape) - start
        for number, block in enumerate(self.blocks):
            if not _contains(block, start):
                continue
            for axis, factor in enumerate(block.factors):
                if factor.group == group and factor.stride == stride:
                    return Site(self.name, number, axis, group)
        return None


def _contains(block: Block, position: int) -> bool:
    """Return whether a block contains an entry."""
    rest = position - block.offset
    for factor in sorted(block.factors, key=lambda each: -each.stride):
        if factor.size > 1:
            rest -= min(max(rest // factor.stride, 0), factor.size - 1) * factor.stride
    return rest == 0


class Sites:
    """The sites of all values.

    Args:
        layouts: layouts by name of the value.
        groups: names of the groups.
    """

    def __init__(self, layouts: Mapping[str, Sequence[Layout]], groups: Collection[str]) -> None:
        """Initialize without computing blocks."""
        self._layouts, self._groups = layouts, groups
        self._known: dict[str, ValueSites] = {}

    def of(self, name: str) -> ValueSites:
        """Return the sites of a value; a value without layout has none."""
        if name not in self._known:
            self._known[name] = ValueSites(name, self._layouts.get(name, ()), self._groups)
        return self._known[name]
