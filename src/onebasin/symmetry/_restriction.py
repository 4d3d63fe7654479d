"""Pinning: a symmetry with some of its groups held in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onebasin.symmetry.layouts import Fixed, Layout, Units, substituted
from onebasin.symmetry.symmetry import Symmetry

UNNEEDED = "fixed, and no group depends on its position any more"


def restrict(symmetry: Symmetry, reasons: Mapping[str, str]) -> Symmetry:
    """Return a symmetry in which some groups no longer move.

    Their units become fixed with the reason given. Where a remaining group nests in one of
    them, it stays as a fixed axis of that name.

    Args:
        symmetry: the symmetry to pin in.
        reasons: names of the groups to pin, and why.
    """
    groups = {name: group for name, group in symmetry.groups.items() if name not in reasons}
    needed = {outer for group in groups.values() for outer in group.nested_in}
    sizes = {**symmetry.axes, **{name: symmetry.groups[name].size for name in reasons}}
    axes = {name: size for name, size in sizes.items() if name in needed}
    pinned = {name: reasons.get(name, UNNEEDED) for name in sizes if name not in axes}

    def pin(units: Units) -> Layout:
        return Fixed(units.size, pinned[units.group]) if units.group in pinned else units

    layouts = {
        tensor: tuple(substituted(layout, pin) for layout in layouts)
        for tensor, layouts in symmetry.layouts.items()
    }
    return replace(symmetry, groups=groups, axes=axes, layouts=layouts)
