"""Random symmetries for property tests, and an oracle that permutes entry by entry."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod

import torch
from hypothesis import strategies as st
from torch import Tensor

from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Family, Fixed, Layout, Product, Sum, Units
from onebasin.symmetry.symmetry import Symmetry

SIZES = st.integers(1, 3)


@st.composite
def symmetries(draw: st.DrawFn) -> Symmetry:
    """Groups a, b and h do not nest; d nests in h, e in (h, d), and f in the fixed axis x."""
    state = random.getstate()
    sizes = {name: draw(SIZES) for name in ("a", "b", "h", "d", "e", "f", "x")}
    nested_in = {"d": ("h",), "e": ("h", "d"), "f": ("x",)}
    groups = {n: Group(n, sizes[n], nested_in.get(n, ())) for n in ("a", "b", "h", "d", "e", "f")}
    count = draw(st.integers(1, 3))
    layouts = {f"t{i}": tuple(draw(tensors(sizes))) for i in range(count)}
    layouts["scalar"] = ()
    symmetry = Symmetry(groups, layouts, axes={"x": sizes["x"]})
    # The run-time type checker samples containers with `random`, which hypothesis forbids.
    random.setstate(state)
    return symmetry


@st.composite
def tensors(draw: st.DrawFn, sizes: Mapping[str, int]) -> list[Layout]:
    """Draw the layouts of one tensor: independent, nested across dimensions, or a family."""
    units = {name: Units(name, size) for name, size in sizes.items()}
    dims = draw(st.lists(dimensions(sizes), max_size=2))
    extra = draw(st.sampled_from(["none", "across", "three", "axis", "family"]))
    if extra == "across":
        dims += [units["h"], Product((Fixed(2), units["d"]))]
    elif extra == "three":
        dims += [Product((units["h"], Fixed(2))), units["d"], units["e"]]
    elif extra == "axis":
        dims += [units["f"], units["x"]]
    elif extra == "family":
        parts = (draw(dimensions(sizes)), draw(dimensions(sizes)))
        members = (Product((units["a"], units["b"])), Product((units["b"], units["a"])))
        dims += [Sum(parts, "k"), Family("k", members)]
    return draw(st.permutations(dims))


@st.composite
def dimensions(draw: st.DrawFn, sizes: Mapping[str, int], depth: int = 2) -> Layout:
    """Draw a self-contained layout: nested groups appear with their outer groups."""
    units = {name: Units(name, size) for name, size in sizes.items()}
    leaves = [
        Fixed(2),
        units["a"],
        units["h"],
        Product((units["h"], units["d"])),
        Product((units["d"], Fixed(2), units["h"])),
        Product((units["h"], units["d"], units["e"])),
        Product((units["x"], units["f"])),
    ]
    kind = draw(st.sampled_from(["leaf", "sum", "product"])) if depth else "leaf"
    if kind == "leaf":
        return draw(st.sampled_from(leaves))
    children = draw(st.lists(dimensions(sizes, depth - 1), min_size=1, max_size=3))
    if kind == "sum":
        return Sum(tuple(children))
    return Product((Fixed(2), children[0], draw(st.sampled_from([units["b"], Fixed(1)]))))


def values_for(symmetry: Symmetry) -> dict[str, Tensor]:
    """Return tensors with distinct entries."""
    return {
        name: torch.arange(prod(shape)).reshape(shape) + 1000 * i
        for i, (name, shape) in enumerate(symmetry.shapes.items())
    }


@dataclass
class Entry:
    """Position of one tensor entry: a position per group, by dimension."""

    positions: list[dict[str, int]] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)

    def position(self, group: str, dim: int) -> int:
        """Return the position of an outer group, in the same dimension if it occurs there."""
        ordered = [self.positions[dim], *self.positions]
        return next(positions[group] for positions in ordered if group in positions)


def some_places(shape: Sequence[int], most: int = 60) -> list[tuple[int, ...]]:
    """Return all positions of a small tensor, or evenly distributed ones of a large tensor."""
    places = list(product(*map(range, shape)))
    return places[:: max(1, -(-len(places) // most))]


def old_place(
    symmetry: Symmetry, name: str, indices: Mapping[str, Tensor], place: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the old position of an entry by the definition, without blocks and gathers."""
    layouts = symmetry.layouts[name]
    entry = Entry([{} for _ in layouts])
    for layout, position in zip(layouts, place, strict=True):
        _find_parts(layout, position, entry)
    for dim, (layout, position) in enumerate(zip(layouts, place, strict=True)):
        _read(layout, position, dim, entry)
    return tuple(
        _old(layout, position, dim, entry, indices, symmetry)
        for dim, (layout, position) in enumerate(zip(layouts, place, strict=True))
    )


def _part(layout: Sum, position: int) -> tuple[int, int]:
    start = 0
    for i, part in enumerate(layout.parts):
        if position < start + part.size:
            return i, start
        start += part.size
    raise AssertionError("position outside of the sum")


def _digits(layout: Product, position: int) -> list[int]:
    digits = []
    for factor in reversed(layout.factors):
        position, digit = divmod(position, factor.size)
        digits.insert(0, digit)
    return digits


def _find_parts(layout: Layout, position: int, entry: Entry) -> None:
    if isinstance(layout, Sum) and layout.key:
        entry.parts[layout.key] = _part(layout, position)[0]


def _read(layout: Layout, position: int, dim: int, entry: Entry) -> None:
    match layout:
        case Units(group, _):
            entry.positions[dim][group] = position
        case Product(factors):
            for factor, digit in zip(factors, _digits(layout, position), strict=True):
                _read(factor, digit, dim, entry)
        case Sum(parts, _):
            i, start = _part(layout, position)
            _read(parts[i], position - start, dim, entry)
        case Family(key, members):
            _read(members[entry.parts[key]], position, dim, entry)


def _old(
    layout: Layout,
    position: int,
    dim: int,
    entry: Entry,
    indices: Mapping[str, Tensor],
    symmetry: Symmetry,
) -> int:
    match layout:
        case Units(group, _) if group in indices:
            outer = [entry.position(name, dim) for name in symmetry.groups[group].nested_in]
            return int(indices[group][(*outer, position)])
        case Product(factors):
            old = 0
            for factor, digit in zip(factors, _digits(layout, position), strict=True):
                old = old * factor.size + _old(factor, digit, dim, entry, indices, symmetry)
            return old
        case Sum(parts, _):
            i, start = _part(layout, position)
            return start + _old(parts[i], position - start, dim, entry, indices, symmetry)
        case Family(key, members):
            member = members[entry.parts[key]]
            return _old(member, position, dim, entry, indices, symmetry)
        case _:
            return position
