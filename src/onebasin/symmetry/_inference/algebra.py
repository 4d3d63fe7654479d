"""Operations that split atoms: cutting, factoring and restricting, and fixing.

`cut` inverts concatenation, `factor` inverts flattening, and `restrict` returns the layout of
one dimension for a range of positions in another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import gcd, prod

from onebasin.symmetry._inference.atoms import (
    ONE,
    Atom,
    Dims,
    Fam,
    Prod,
    Reason,
    Sum,
    derived,
    family_of,
    fixing_reason,
    flat_factors,
    flat_parts,
    fresh,
    is_fixed,
    parts_of,
    product_of,
    selects,
    sum_of,
    walk,
)


class ClashError(Exception):
    """Two layouts have no common refinement unless some of their atoms are fixed.

    Args:
        text: description of the conflict.
        atoms: atoms to fix; empty if fixing would not help.
    """

    def __init__(self, text: str, atoms: Iterable[Atom] = ()) -> None:
        super().__init__(text)
        self.atoms = tuple(atoms)


def fix(atom: Atom, reason: Reason) -> None:
    """Fix every position of an atom."""
    root = atom.root
    if root.size <= 1:
        return
    if root.form is None:
        root.fixed_by = root.fixed_by or reason
    for part in parts_of(root):
        fix(part, reason)


def cut(atom: Atom, start: int, stop: int) -> Atom:
    """Return the layout of the positions from start to stop."""
    root = atom.root
    if (start, stop) == (0, root.size):
        return root
    if (start, stop) not in root.ranges:
        piece = _cut(root, start, stop)
        root.ranges[start, stop] = piece
        _place(piece.root, root, start)
    return root.ranges[start, stop].root


def _place(piece: Atom, whole: Atom, start: int) -> None:
    """Record the offset of a piece in the atom it was cut from, and in that atom's origins."""
    if piece.size > 1:
        piece.places.setdefault(whole, set()).add(start)
        for further, offsets in whole.places.items():
            piece.places.setdefault(further, set()).update(start + offset for offset in offsets)


def _cut(root: Atom, start: int, stop: int) -> Atom:
    match root.form:
        case None:
            sizes = (start, stop - start, root.size - stop)
            pieces = [derived(size, root) for size in sizes]
            root.form = Sum(tuple(piece for piece in pieces if piece.size))
            return pieces[1]
        case Sum(parts):
            return sum_of(_overlaps(parts, start, stop))
        case Fam(key, spans, members):
            return family_of(key, spans, [cut(member, start, stop) for member in members])
        case Prod(factors):
            return _cut_product(factors[0].root, factors[1:], start, stop)


def _overlaps(parts: Sequence[Atom], start: int, stop: int) -> list[Atom]:
    pieces, offset = [], 0
    for part in parts:
        low, high = max(start - offset, 0), min(stop - offset, part.size)
        if low < high:
            pieces.append(cut(part, low, high))
        offset += part.size
    return pieces


def _cut_product(outer: Atom, inner: Sequence[Atom], start: int, stop: int) -> Atom:
    """Cut (outer × inner): whole rows remain products, and a partial row becomes a sum."""
    width = prod(factor.size for factor in inner)
    first, last = -(-start // width), stop // width
    if first > last:  # inside one row
        return cut(_rows(outer, inner, last, last + 1), start - last * width, stop - last * width)
    pieces = []
    if start < first * width:
        row = _rows(outer, inner, first - 1, first)
        pieces.append(cut(row, start - (first - 1) * width, width))
    if first < last:
        pieces.append(_rows(outer, inner, first, last))
    if last * width < stop:
        pieces.append(cut(_rows(outer, inner, last, last + 1), 0, stop - last * width))
    return sum_of(pieces)


def _rows(outer: Atom, inner: Sequence[Atom], start: int, stop: int) -> Atom:
    chosen = [restrict(factor, outer, start, stop) for factor in inner]
    return product_of([cut(outer, start, stop), *chosen])


def restrict(atom: Atom, key: Atom, start: int, stop: int, *, force: bool = False) -> Atom:
    """Return the layout of an atom for positions of `key` in start..stop.

    An atom without form becomes a family over the key if every parameter that contains it
    contains the key, too, or if forced. Otherwise it cannot depend on the key.
    """
    root, key = atom.root, key.root
    if root.size <= 1 or root is key or (start, stop) == (0, key.size):
        return root
    match root.form:
        case None:
            if root.fixed_by or not (force or _may_depend(root, key)):
                return root
            spans = [span for span in (start, stop - start, key.size - stop) if span]
            members = tuple(derived(root.size, root) for _ in spans)
            root.form = Fam(key, tuple(spans), members)
            return members[1 if start else 0]
        case Fam(over, _, _) if over.root is key:
            return _restrict_family(root.form, key, start, stop, force=force)
        case Fam(over, spans, members):
            chosen = [restrict(m, key, start, stop, force=force) for m in members]
            return _rebuilt(root, chosen, lambda: family_of(over, spans, chosen))
        case Prod(factors):
            chosen = [restrict(f, key, start, stop, force=force) for f in factors]
            return _rebuilt(root, chosen, lambda: product_of(chosen))
        case Sum(parts):
            chosen = [restrict(p, key, start, stop, force=force) for p in parts]
            return _rebuilt(root, chosen, lambda: sum_of(chosen))


def _rebuilt(root: Atom, chosen: Sequence[Atom], build):
    same = all(new.root is old.root for new, old in zip(chosen, parts_of(root), strict=True))
    return root if same else build()


def _may_depend(atom: Atom, key: Atom) -> bool:
    return selects(key) and all(any(root is key for root in walk(dims)) for dims in atom.homes)


def _restrict_family(family: Fam, key: Atom, start: int, stop: int, *, force: bool) -> Atom:
    spans, members = [], []
    for low, high, member in family.ranges():
        begin, end = max(low, start), min(high, stop)
        if begin < end:
            piece = cut(key, low, high)
            spans.append(end - begin)
            members.append(restrict(member, piece, begin - low, end - low, force=force))
    return family_of(cut(key, start, stop), spans, members)


def flat_ranges(root: Atom) -> Iterator[tuple[int, int, Atom]]:
    """Yield (start, stop, member) of a family, with families over parts of its key flattened."""
    assert isinstance(root.form, Fam)
    key = root.form.key
    for low, high, member in root.form.ranges():
        inner = member.root
        if isinstance(inner.form, Fam) and inner.form.key.root is cut(key, low, high).root:
            for start, stop, deeper in flat_ranges(inner):
                yield low + start, low + stop, deeper
        else:
            yield low, high, inner


def family_marks(dims: Iterable[Atom]) -> dict[Atom, list[int]]:
    """Return the positions at which families of a tensor divide their keys, by key."""
    edges: dict[Atom, set[int]] = {}
    pending = list(dims)
    while pending:
        root = pending.pop().root
        if isinstance(root.form, Fam):
            key = root.form.key.root
            for _, stop, member in flat_ranges(root):
                edges.setdefault(key, {0, key.size}).add(stop)
                pending.append(member)
        else:
            pending += parts_of(root)
    return {key: sorted(marks) for key, marks in edges.items()}


def factor(atom: Atom, sizes: Sequence[int]) -> list[Atom]:
    """Split an atom into a row-major product of these sizes, outermost first.

    Raises:
        ClashError: when the factors would split units.
    """
    assert atom.size == prod(sizes), "the sizes must multiply to the atom's"
    factors, rest = [], atom.root
    for size in sizes[:-1]:  # outermost first: later factors may depend on outer ones
        outer, rest = _split(rest, rest.size // size)
        factors.append(outer)
    return [*factors, rest]


def _split(atom: Atom, width: int) -> tuple[Atom, Atom]:
    """Return (outer, inner) with an inner factor of `width`."""
    root = atom.root
    if width == 1:
        return root, ONE
    if width == root.size:
        return ONE, root
    if width not in root.splits:
        root.splits[width] = _split_form(root, width)
    outer, inner = root.splits[width]
    return outer.root, inner.root


def _split_form(root: Atom, width: int) -> tuple[Atom, Atom]:
    match root.form:
        case None:
            outer, inner = derived(root.size // width, root), derived(width, root)
            root.form = Prod((outer, inner))
            return outer, inner
        case Prod():
            return _split_product(flat_factors(root), width)
        case Fam(key, spans, members):
            pairs = [_split(member, width) for member in members]
            outers, inners = zip(*pairs, strict=True)
            return family_of(key, spans, outers), family_of(key, spans, inners)
        case Sum():
            return _split_sum(root, width)


def _split_product(factors: list[Atom], width: int) -> tuple[Atom, Atom]:
    """Split a product at an inner width; factors that cross the boundary must be fixed."""
    inner: list[Atom] = []
    while width > 1:
        last = factors.pop()
        shared = gcd(width, last.size)
        if shared == 1:
            return _split_fixed([*factors, last], inner, width)
        rest, piece = _split(last, shared)
        inner.insert(0, piece)
        width //= shared
        if rest.size > 1:
            factors.append(rest)
    return product_of(factors), product_of(inner)


def _split_fixed(factors: list[Atom], inner: list[Atom], width: int) -> tuple[Atom, Atom]:
    """Regroup factors whose units are all fixed."""
    if not all(map(is_fixed, factors)):
        sizes = " × ".join(str(factor.size) for factor in factors)
        raise ClashError(f"{sizes} has no inner factor of {width} units", factors)
    size, reason = prod(factor.size for factor in factors), fixing_reason(factors)
    outer, piece = fresh(size // width, reason), fresh(width, reason)
    return outer, product_of([piece, *inner])


def _split_sum(root: Atom, width: int) -> tuple[Atom, Atom]:
    """Factor a concatenation; rows that cross a boundary get their own inner sum."""
    edges, offset = {0, root.size}, 0
    for part in flat_parts(root):
        offset += part.size
        edges |= {offset // width * width, -(-offset // width) * width}
    marks = sorted(edges)
    pairs = [_split(cut(root, low, high), width) for low, high in pairwise(marks)]
    outers: Dims = tuple(outer for outer, _ in pairs)
    inners = [inner for _, inner in pairs]
    outer = outers[0] if len(pairs) == 1 else Atom(root.size // width, Sum(outers))
    return outer, family_of(outer, [o.size for o in outers], inners)
