"""Names of groups, derived from parameter names.

A group has the name of the first tensor that contains it: `layer1.0.conv1`. If a dimension
contains several groups, a path follows: `[0]` for a part of a sum, `.outer` and `.inner` for
the factors of a product, `:1` for a dimension after the first one with a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Family, Layout, Product, Sum, Units
from onebasin.symmetry.symmetry import Symmetry

SUFFIXES = (".weight", ".bias", "_weight", "_bias")


def with_names(symmetry: Symmetry) -> Symmetry:
    """Return a symmetry with provisional names replaced by names of parameters."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for tensor, layouts in symmetry.layouts.items():
        for place, layout in enumerate(layouts):
            earlier = any(True for other in layouts[:place] for _ in _paths(other, ""))
            stem = f"{_stem(tensor)}:{place}" if earlier else _stem(tensor)
            for old, path in _paths(layout, ""):
                if old not in names:
                    names[old] = _unique(stem + path, taken)
    groups = [
        Group(names[group.name], group.size, tuple(names[outer] for outer in group.nested_in))
        for group in symmetry.groups.values()
    ]
    return replace(
        symmetry,
        groups={group.name: group for group in groups},
        axes={names[axis]: size for axis, size in symmetry.axes.items()},
        layouts={
            tensor: tuple(_renamed(layout, names) for layout in layouts)
            for tensor, layouts in symmetry.layouts.items()
        },
    )


def _stem(tensor: str) -> str:
    for suffix in SUFFIXES:
        if tensor.endswith(suffix) and len(tensor) > len(suffix):
            return tensor.removesuffix(suffix)
    return tensor


def _unique(name: str, taken: set[str]) -> str:
    unique, number = name, 2
    while unique in taken:
        unique, number = f"{name}#{number}", number + 1
    taken.add(unique)
    return unique


def _paths(layout: Layout, path: str) -> Iterator[tuple[str, str]]:
    """Yield every group in a layout with its path."""
    match layout:
        case Units(group, _):
            yield group, path
        case Product(factors):
            steps = ("outer", "inner") if len(factors) == 2 else range(len(factors))
            for step, factor in zip(steps, factors, strict=True):
                yield from _paths(factor, f"{path}.{step}")
        case Sum(parts, _) | Family(_, parts):
            for i, part in enumerate(parts):
                yield from _paths(part, f"{path}[{i}]")


def _renamed(layout: Layout, names: Mapping[str, str]) -> Layout:
    match layout:
        case Units(group, size):
            return Units(names[group], size)
        case Product(factors):
            return Product(tuple(_renamed(factor, names) for factor in factors))
        case Sum(parts, key):
            return Sum(tuple(_renamed(part, names) for part in parts), key)
        case Family(key, members):
            return Family(key, tuple(_renamed(member, names) for member in members))
        case _:
            return layout
