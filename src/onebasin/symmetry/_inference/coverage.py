"""Coverage check: the blocks of every inferred layout must contain each entry exactly once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from onebasin.symmetry._blocks import blocks_of
from onebasin.symmetry._restriction import restrict
from onebasin.symmetry.layouts import Family, Fixed, Layout, Units, children, leaves
from onebasin.symmetry.symmetry import Symmetry

REASON = "its layout does not decompose into disjoint blocks"


def with_disjoint_blocks(symmetry: Symmetry) -> Symmetry:
    """Return a symmetry in which tensors without disjoint blocks, and their groups, are fixed.

    A sum that selects the members of a family must occur once in a tensor. If reshapes
    repeat it, the layout cannot be applied.
    """
    broken = {name for name, layouts in symmetry.layouts.items() if not _covers(layouts)}
    if not broken:
        return symmetry
    layouts = {
        name: tuple(Fixed(layout.size, REASON) for layout in own) if name in broken else own
        for name, own in symmetry.layouts.items()
    }
    failed = {group for name in broken for group in _groups(symmetry.layouts[name])}
    reasons = {name: REASON for name in symmetry.groups if name in failed}
    return restrict(replace(symmetry, layouts=layouts), reasons)


def _covers(layouts: Sequence[Layout]) -> bool:
    if not any(map(_has_family, layouts)):
        return True
    entries = sum(block.num_entries for block in blocks_of(layouts))
    return entries == prod(layout.size for layout in layouts)


def _has_family(layout: Layout) -> bool:
    return isinstance(layout, Family) or any(map(_has_family, children(layout)))


def _groups(layouts: Sequence[Layout]) -> Iterator[str]:
    for layout in layouts:
        yield from (leaf.group for leaf in leaves(layout) if isinstance(leaf, Units))
