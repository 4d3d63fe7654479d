"""Canonical form of layouts, for readability.

A product with an outer sum that selects the inner factors is written as a sum of products.
For example, a fused projection is a sum of three products (heads × channels), each with its
own groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod

from onebasin.symmetry._blocks import blocks_of
from onebasin.symmetry.layouts import Family, Fixed, Layout, Product, Sum, Units, children, leaves
from onebasin.symmetry.symmetry import Symmetry, restrict


def canonical(layouts: Sequence[Layout]) -> tuple[Layout, ...]:
    """Return the layouts of one tensor with sums moved outwards if families allow it."""
    uses = Counter(key for layout in layouts for key in _family_keys(layout))
    return tuple(_canonical(layout, uses) for layout in layouts)


def product_layout(factors: Sequence[Layout]) -> Layout:
    """Return the product of layouts, flattened and without factors of size one."""
    opened: list[Layout] = []
    for factor in factors:
        opened += factor.factors if isinstance(factor, Product) else [factor]
    kept = _joined((f for f in opened if f.size != 1), lambda sizes: sizes[0] * sizes[1])
    return Fixed(1) if not kept else kept[0] if len(kept) == 1 else Product(tuple(kept))


def sum_layout(parts: Sequence[Layout]) -> Layout:
    """Return the concatenation of layouts, flattened and with fixed neighbors joined."""
    opened: list[Layout] = []
    for part in parts:
        opened += part.parts if isinstance(part, Sum) and not part.key else [part]
    joined = _joined(opened, sum)
    return joined[0] if len(joined) == 1 else Sum(tuple(joined))


def _joined(layouts: Iterable[Layout], size_of: Callable[[tuple[int, int]], int]) -> list[Layout]:
    """Return layouts with adjacent fixed ones joined."""
    joined: list[Layout] = []
    for layout in layouts:
        last = joined[-1] if joined else None
        if isinstance(last, Fixed) and isinstance(layout, Fixed):
            joined[-1] = Fixed(size_of((last.size, layout.size)), last.reason or layout.reason)
        else:
            joined.append(layout)
    return joined


def _canonical(layout: Layout, uses: Counter[str]) -> Layout:
    match layout:
        case Product(factors):
            return _distributed([_canonical(factor, uses) for factor in factors], uses)
        case Sum(parts, key):
            kept = [_canonical(part, uses) for part in parts]
            return Sum(tuple(kept), key) if uses[key] else sum_layout(kept)
        case Family(key, members):
            return Family(key, tuple(_canonical(member, uses) for member in members))
        case _:
            return layout


def _distributed(factors: list[Layout], uses: Counter[str]) -> Layout:
    for i, factor in enumerate(factors):
        if not isinstance(factor, Sum) or not factor.key:
            continue
        inner = factors[i + 1 :]
        inside = Counter(key for layout in inner for key in _family_keys(layout))
        if inside[factor.key] and inside[factor.key] == uses[factor.key]:
            rows = []
            for j, part in enumerate(factor.parts):
                chosen = [_chosen(layout, factor.key, j) for layout in inner]
                rows.append(_canonical(product_layout([part, *chosen]), uses))
            return product_layout([*factors[:i], sum_layout(rows)])
    return product_layout(factors)


def _chosen(layout: Layout, key: str, place: int) -> Layout:
    """Return a layout with the families over a key replaced by one of their members."""
    match layout:
        case Family(over, members):
            if over == key:
                return _chosen(members[place], key, place)
            return Family(over, tuple(_chosen(member, key, place) for member in members))
        case Product(factors):
            return product_layout([_chosen(factor, key, place) for factor in factors])
        case Sum(parts, _):
            return replace(layout, parts=tuple(_chosen(part, key, place) for part in parts))
        case _:
            return layout


def _family_keys(layout: Layout) -> Iterator[str]:
    if isinstance(layout, Family):
        yield layout.key
    for child in children(layout):
        yield from _family_keys(child)


REASON = "its layout does not decompose into disjoint blocks"


def with_disjoint_blocks(symmetry: Symmetry, features: Collection[str] = ()) -> Symmetry:
    """Return a symmetry in which tensors without disjoint blocks, and their groups, are fixed.

    A sum that selects the members of a family must occur once in a tensor. If reshapes
    repeat it, the layout cannot be applied.

    Args:
        symmetry: the symmetry.
        features: names of values inside the graph, whose groups are not fixed.
    """
    broken = {name for name, layouts in symmetry.layouts.items() if not _covers(layouts)}
    if not broken:
        return symmetry
    layouts = {
        name: tuple(Fixed(layout.size, REASON) for layout in own) if name in broken else own
        for name, own in symmetry.layouts.items()
    }
    tensors = broken.difference(features)
    failed = {group for name in tensors for group in _groups(symmetry.layouts[name])}
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
