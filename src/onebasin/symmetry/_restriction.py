"""Restriction of a symmetry to some of its groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onebasin.symmetry.layouts import Fixed, Layout, Units, substituted
from onebasin.symmetry.symmetry import Symmetry

UNNEEDED = "fixed axis that no group nests in"


def restrict(symmetry: Symmetry, reasons: Mapping[str, str]) -> Symmetry:
    """Return a symmetry in which some groups are fixed.

    The layouts of their units become `Fixed` with the given reason. If another group nests
    in a fixed group, the fixed group remains as an axis of that name.

    Args:
        symmetry: the symmetry to restrict.
        reasons: the reason for each group to fix.
    """
    groups = {name: group for name, group in symmetry.groups.items() if name not in reasons}
    needed = {outer for group in groups.values() for outer in group.nested_in}
    sizes = {**symmetry.axes, **{name: symmetry.groups[name].size for name in reasons}}
    axes = {name: size for name, size in sizes.items() if name in needed}
    fixed_by = {name: reasons.get(name, UNNEEDED) for name in sizes if name not in axes}

    def fix(units: Units) -> Layout:
        return Fixed(units.size, fixed_by[units.group]) if units.group in fixed_by else units

    layouts = {
        tensor: tuple(substituted(layout, fix) for layout in layouts)
        for tensor, layouts in symmetry.layouts.items()
    }
    return replace(symmetry, groups=groups, axes=axes, layouts=layouts)
