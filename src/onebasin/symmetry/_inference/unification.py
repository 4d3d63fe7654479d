"""Unification of the layouts of two dimensions, by their most general refinement.

If no common refinement exists, both sides are fixed. `check_scope` collapses families whose
key is missing from a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from math import gcd

from onebasin.symmetry._inference.algebra import ClashError, cut, factor, fix, restrict
from onebasin.symmetry._inference.atoms import (
    Atom,
    Fam,
    Prod,
    Reason,
    flat_factors,
    flat_parts,
    is_fixed,
    parts_of,
    selects,
    walk,
)


def unify(a: Atom, b: Atom, reason: Reason) -> None:
    """Unify two atoms; if that is impossible, fix both for the given reason."""
    try:
        _unify(a, b)
    except ClashError as error:
        detail = Reason(f"{reason.text}: {error}", reason.operator, reason.location, True)
        for atom in error.atoms or (a, b):
            fix(atom, detail)
        if error.atoms:
            unify(a, b, reason)
    except RecursionError:
        detail = Reason(f"{reason.text}: nested too deeply", reason.operator, reason.location, True)
        fix(a, detail)
        fix(b, detail)


def _unify(a: Atom, b: Atom) -> None:
    a, b = a.root, b.root
    if a is b or a.size <= 1:
        return
    assert a.size == b.size, f"cannot unify {a.size} with {b.size} positions"
    _scramble_overlapping(a, b)
    if a.form is None or b.form is None:
        if b.form is None:
            a, b = b, a
        _bind(a, b)
    elif isinstance(a.form, Fam) or isinstance(b.form, Fam):
        if not isinstance(a.form, Fam):
            a, b = b, a
        _unify_family(a, b)
    elif isinstance(a.form, Prod) and isinstance(b.form, Prod):
        _unify_products(a, b)
        _link(a, b)
    else:
        if isinstance(a.form, Prod):
            a, b = b, a
        _unify_sum(a, b)
        _link(a, b)


def _scramble_overlapping(a: Atom, b: Atom) -> None:
    """Mark an atom whose pieces meet with different offsets as scrambled."""
    for whole, offsets in a.places.items():
        for other, others in b.places.items():
            if whole.root is other.root and any(
                0 < abs(offset - shifted) < a.size for offset in offsets for shifted in others
            ):
                whole.root.scrambled = True


def _link(a: Atom, b: Atom) -> None:
    """Replace atom a by b."""
    a, b = a.root, b.root
    if a is b:
        return
    b.scrambled |= a.scrambled
    for whole, offsets in a.places.items():
        b.places.setdefault(whole, set()).update(offsets)
    a.parent = b


def _bind(a: Atom, b: Atom) -> None:
    """Replace atom a, which has no form, by b."""
    if b.form is not None and any(root is a for root in walk(parts_of(b))):
        if not isinstance(b.form, Fam):
            raise ClashError("a layout would contain itself")
        collapse(b)
        _unify(a, b)
        return
    for root in list(walk([b])):
        if root.size > 1:
            root.homes |= a.homes
    if a.fixed_by:
        fix(b, a.fixed_by)
    _link(a, b)


def _unify_products(a: Atom, b: Atom) -> None:
    left, right = flat_factors(a), flat_factors(b)
    while left and right:
        x, y = left.pop(), right.pop()
        shared = gcd(x.size, y.size)
        if shared == 1:
            rest = [*left, x, *right, y]
            if all(map(is_fixed, rest)):
                for part in rest:
                    part.root.scrambled = True
                return
            raise ClashError(f"{a.size} units are grouped by {x.size} and by {y.size}", rest)
        for atom, pending in ((x, left), (y, right)):
            outer, _ = factor(atom, [atom.size // shared, shared])
            if outer.size > 1:
                pending.append(outer)
        _unify(factor(x, [x.size // shared, shared])[1], factor(y, [y.size // shared, shared])[1])


def _unify_sum(a: Atom, b: Atom) -> None:
    """Unify sum a with a sum or product b, part by part after cutting both alike."""
    edges = {0, a.size}
    for atom in (a, b):
        offset = 0
        for part in flat_parts(atom):
            offset += part.size
            edges.add(offset)
    marks = sorted(edges)
    for low, high in pairwise(marks):
        _unify(cut(a, low, high), cut(b, low, high))


def _unify_family(a: Atom, b: Atom) -> None:
    """Unify family a with b, member by member."""
    assert isinstance(a.form, Fam)
    if any(root is a for root in walk(parts_of(b))):
        if not isinstance(b.form, Fam):
            raise ClashError("a layout would contain itself")
        collapse(b)
        return _unify(a, b)
    if isinstance(b.form, Fam) and b.form.key.root is not a.form.key.root:
        collapse(b)
        return _unify(a, b)
    key = a.form.key
    for low, high, member in list(a.form.ranges()):
        _unify(member, restrict(b, key, low, high, force=True))
    _link(a, b)


def collapse(atom: Atom) -> None:
    """Replace a family by one layout, by unifying its members."""
    root = atom.root
    if not isinstance(root.form, Fam):
        return
    first, *others = root.form.members
    for member in others:
        _unify(first, member)
    if root.root is root and isinstance(root.form, Fam):
        target = first.root
        if target is root:
            raise ClashError("a family contains itself")
        _link(root, target)


def check_scope(dims: Iterable[Atom], reason: Reason, *, every_block: bool = False) -> bool:
    """Collapse every family in a tensor that does not contain the family's key exactly once.

    Args:
        dims: the dimensions of the tensor.
        reason: reason for atoms that become fixed.
        every_block: whether families that occur in all blocks need the key in all of them.

    Returns:
        Whether a family was collapsed.
    """
    dims, changed = tuple(dims), False
    while (family := _out_of_scope(dims, every_block)) is not None:
        changed = True
        merge_members(family, reason)
    return changed


def merge_members(family: Atom, reason: Reason) -> None:
    """Replace a family by one layout; if that is impossible, fix it for the given reason."""
    _guarded(lambda: collapse(family), family, reason)


def _out_of_scope(dims: tuple[Atom, ...], every_block: bool) -> Atom | None:
    for family in dict.fromkeys(root for root in walk(dims) if isinstance(root.form, Fam)):
        assert isinstance(family.form, Fam)
        key = family.form.key.root
        blocks = _joint(dims, family, key)
        counts = {count for seen, count in blocks if seen}
        everywhere = every_block and all(seen for seen, _ in blocks)
        missing = 0 in counts if everywhere else counts == {0}
        if missing or max(counts) > 1 or not selects(key):
            return family
    return None


def _joint(dims: Iterable[Atom], family: Atom, key: Atom) -> set[tuple[bool, int]]:
    """Return for each block whether it contains a family, and the count of the family's key.

    A block has all factors of a product, but one part of a sum and one member of a family.
    Counts are capped at two.
    """
    blocks = {(False, 0)}
    for atom in dims:
        own = _joint_of(atom.root, family, key)
        blocks = {(a or b, min(i + j, 2)) for a, i in blocks for b, j in own}
    return blocks


def _joint_of(root: Atom, family: Atom, key: Atom) -> set[tuple[bool, int]]:
    """Return the result of `_joint` for one dimension."""
    if isinstance(root.form, Prod):
        inner = _joint(root.form.factors, family, key)
    else:
        inner = set().union(*(_joint_of(part.root, family, key) for part in parts_of(root)))
    if isinstance(root.form, Fam):  # its members may be selected by the key as well
        inner = {(seen, max(count for _, count in inner)) for seen, _ in inner}
    here = root is family, int(root is key)
    return {(a or here[0], min(i + here[1], 2)) for a, i in inner or {(False, 0)}}


def _guarded(action: Callable[[], None], atom: Atom, reason: Reason) -> None:
    try:
        action()
    except (ClashError, RecursionError) as error:
        members = atom.form.members if isinstance(atom.form, Fam) else ()
        for member in members:
            fix(member, Reason(f"{reason.text}: {error}", reason.operator, reason.location, True))
        root = atom.root
        root.form, root.fixed_by = None, reason
