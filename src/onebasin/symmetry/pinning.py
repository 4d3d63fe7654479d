"""Pinning: a symmetry with some of its groups held in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onebasin.symmetry.layouts import Family, Fixed, Layout, Product, Sum, Units
from onebasin.symmetry.symmetry import Symmetry


def without_groups(symmetry: Symmetry, reasons: Mapping[str, str]) -> Symmetry:
    """Return a symmetry in which some groups no longer move.

    Their units become fixed with the reason given. Where a remaining group nests in one of
    them, it stays as a fixed axis of that name.

    Args:
        symmetry: the symmetry to pin in.
        reasons: names of the groups to pin, and why.
    """
    groups = {name: group for name, group in symmetry.groups.items() if name not in reasons}
    needed = {outer for group in groups.values() for outer in group.within}
    sizes = {**symmetry.axes, **{name: symmetry.groups[name].size for name in reasons}}
    axes = {name: size for name, size in sizes.items() if name in needed}
    pinned = {name: reasons.get(name, "no group nests in it") for name in sizes if name not in axes}
    layouts = {
        tensor: tuple(_pin(layout, pinned) for layout in layouts)
        for tensor, layouts in symmetry.layouts.items()
    }
    return replace(symmetry, groups=groups, axes=axes, layouts=layouts)


def _pin(layout: Layout, reasons: Mapping[str, str]) -> Layout:
    match layout:
        case Units(group, size) if group in reasons:
            return Fixed(size, reasons[group])
        case Product(factors):
            return Product(tuple(_pin(factor, reasons) for factor in factors))
        case Sum(parts, key):
            return Sum(tuple(_pin(part, reasons) for part in parts), key)
        case Family(key, members):
            return Family(key, tuple(_pin(member, reasons) for member in members))
        case _:
            return layout
