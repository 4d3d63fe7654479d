"""Laws of the layout algebra, on random layouts expanded to lists of positions."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebasin.symmetry._inference.algebra import ClashError, cut, factor, fix, restrict
from onebasin.symmetry._inference.atoms import (
    Atom,
    Fam,
    Prod,
    Reason,
    Sum,
    family_of,
    fresh,
    is_fixed,
    product_of,
    sum_of,
)
from onebasin.symmetry._inference.unification import check_scope, unify

WHY = Reason("test")


def places(atom: Atom, chosen: dict[Atom, int] | None = None) -> list[tuple]:
    """Return for every position its leaves and the position in each leaf."""
    root, chosen = atom.root, chosen or {}
    match root.form:
        case None:
            return [() if root.size == 1 else ((id(root), i),) for i in range(root.size)]
        case Sum(parts):
            return [place for part in parts for place in places(part, chosen)]
        case Fam():
            position = chosen[root.form.key.root]
            for low, high, member in root.form.ranges():
                if low <= position < high:
                    return places(member, chosen)
    assert isinstance(root.form, Prod)
    rows: list[tuple[tuple, dict[Atom, int]]] = [((), chosen)]
    for part in root.form.factors:
        rows = [
            (row + place, {**known, **corresponding(part, i, known)})
            for row, known in rows
            for i, place in enumerate(places(part, known))
        ]
    return [row for row, _ in rows]


def corresponding(atom: Atom, position: int, chosen: dict[Atom, int]) -> dict[Atom, int]:
    """Return the positions in all atoms that correspond to a position in this one."""
    root = atom.root
    by_root = {root: position}
    if isinstance(root.form, Fam):
        place = chosen[root.form.key.root]
        inside = [m for low, high, m in root.form.ranges() if low <= place < high]
        by_root |= corresponding(inside[0], position, chosen)
    if isinstance(root.form, Sum):
        for part in root.form.parts:
            if 0 <= position < part.size:
                by_root |= corresponding(part, position, chosen)
            position -= part.size
        position = by_root[root]
    for (low, high), piece in root.ranges.items():
        if low <= position < high and piece.root not in by_root:
            by_root |= corresponding(piece, position - low, chosen)
    return by_root


shapes = st.recursive(
    st.sampled_from([2, 3, 4, 6]),
    lambda inner: st.tuples(st.sampled_from("*+"), st.lists(inner, min_size=2, max_size=3)),
    max_leaves=4,
)


def built(shape: int | tuple[str, list]) -> Atom:
    """Return a layout of fresh leaves: a number is a leaf, `*` a product, `+` a sum."""
    if isinstance(shape, int):
        return fresh(shape)
    kind, parts = shape
    return (product_of if kind == "*" else sum_of)([built(part) for part in parts])


def divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


@given(shapes, st.data())
def test_cut_preserves_positions(shape, data: st.DataObject):
    atom = built(shape)
    start = data.draw(st.integers(0, atom.size - 1))
    stop = data.draw(st.integers(start + 1, atom.size))
    piece = cut(atom, start, stop)
    assert piece.size == stop - start
    assert places(piece) == places(atom)[start:stop]


@given(shapes, st.data())
def test_factors_multiply_back(shape, data: st.DataObject):
    atom = built(shape)
    width = data.draw(st.sampled_from(divisors(atom.size)))
    try:
        outer, inner = factor(atom, [atom.size // width, width])
    except ClashError as clash:
        for part in clash.atoms:
            fix(part, WHY)
        outer, inner = factor(atom, [atom.size // width, width])
        assert (outer.size, inner.size) == (atom.size // width, width)
        return
    assert places(product_of([outer, inner])) == places(atom)


@given(shapes, shapes)
def test_unified_layouts_are_equal_or_fixed(left, right):
    a, b = built(left), built(right)
    if a.size != b.size:
        return
    unify(a, b, WHY)
    assert places(a) == places(b) or (is_fixed(a) and is_fixed(b)) or _partly_fixed(a, b)


def _partly_fixed(a: Atom, b: Atom) -> bool:
    """Whether two layouts agree at all free positions."""
    free = [
        [tuple(step for step in place if step[0] in _free(atom)) for place in places(atom)]
        for atom in (a, b)
    ]
    return free[0] == free[1]


def _free(atom: Atom) -> set[int]:
    root = atom.root
    if root.form is None:
        return set() if root.fixed_by else {id(root)}
    parts = {Prod: "factors", Sum: "parts", Fam: "members"}[type(root.form)]
    return {leaf for part in getattr(root.form, parts) for leaf in _free(part)}


def test_unification_is_transitive():
    a, b, c = fresh(6), product_of([fresh(2), fresh(3)]), fresh(6)
    unify(a, b, WHY)
    unify(c, a, WHY)
    assert places(a) == places(b) == places(c)


def test_coarse_and_fine_products_unify_to_the_fine_one():
    a, b = product_of([fresh(4), fresh(6)]), product_of([fresh(8), fresh(3)])
    unify(a, b, WHY)
    assert places(a) == places(b)
    assert not is_fixed(a)


def test_sum_of_three_splits_into_three_separate_rows():
    parts = [fresh(8) for _ in range(3)]
    whole = sum_of(parts)
    rows, heads, channels = factor(whole, [3, 2, 4])
    opened = product_of([rows, heads, channels])
    for i, part in enumerate(parts):
        assert places(cut(opened, 8 * i, 8 * i + 8)) == places(part)
        assert restrict(channels, rows, i, i + 1).root is factor(part, [2, 4])[1].root


def test_family_without_its_key_collapses():
    key, members = sum_of([fresh(2), fresh(3)]), [fresh(4), fresh(4)]
    family = family_of(key, [2, 3], members)
    assert not check_scope((key, family), WHY)
    assert check_scope((family,), WHY)
    assert members[0].root is members[1].root is family.root


def test_fixing_applies_to_every_part():
    parts = [fresh(2), fresh(3)]
    fix(sum_of([product_of(parts), fresh(4)]), WHY)
    assert all(part.fixed_by is WHY for part in parts)


def test_coprime_factors_fix_only_crossing_factors():
    atom = product_of([fresh(4), fresh(15)])
    with pytest.raises(ClashError, match="has no inner factor"):
        factor(atom, [5, 12])
    unify(atom, product_of([fresh(5), fresh(12)]), WHY)
    inner = factor(atom, [20, 3])[1]
    assert not is_fixed(inner) and is_fixed(factor(atom, [20, 3])[0])


def test_sizes_are_preserved():
    for low, high in pairwise([0, 1, 5, 6, 7, 12]):
        assert cut(product_of([fresh(3), fresh(4)]), low, high).size == high - low
    assert prod(f.size for f in factor(fresh(24), [2, 3, 4])) == 24
