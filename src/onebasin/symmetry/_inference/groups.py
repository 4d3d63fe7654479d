"""Groups: from solved atoms to the symmetry's groups, their nesting and their names.

A free atom that lies on a parameter is a group. It may depend on those atoms that every
tensor which carries it carries, too. Atoms that depend on each other both ways are one
group of pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product

from onebasin.symmetry._inference.algebra import cut, family_marks, restrict
from onebasin.symmetry._inference.atoms import Atom, Dims, Fam, Prod, Sum, parts_of, selects, walk

MAX_CHOICES = 4096
Leaves = tuple[Atom, ...]


def leaf_sets(dims: Dims) -> Iterator[tuple[Leaves, ...]]:
    """Yield, for each choice among the families of a tensor, the leaves of every block.

    Each yielded value has one entry per alternative part of one dimension: that part's
    leaves followed by those that every alternative of the other dimensions carries.
    """
    marks = family_marks(dims)
    choices = [list(pairwise(edges)) for edges in marks.values()]
    total = 1
    for ranges in choices:
        total *= len(ranges)
    if total > MAX_CHOICES:  # too many to tell apart: nothing may depend on anything
        yield tuple((root,) for root in set(walk(dims)) if root.form is None)
        return
    for choice in product(*choices):
        yield tuple(_joint(dims, dict(zip(marks, choice, strict=True))))


def _joint(dims: Dims, chosen: Mapping[Atom, tuple[int, int]]) -> Iterator[Leaves]:
    alternatives = [set(_alternatives(atom, chosen)) for atom in dims]
    shared = [_intersection(options) for options in alternatives]
    for i, options in enumerate(alternatives):
        others = tuple(leaf for j, leaves in enumerate(shared) if j != i for leaf in leaves)
        for leaves in options:
            yield leaves + others


def _intersection(options: set[Leaves]) -> Leaves:
    counts = [Counter(option) for option in options]
    common = counts[0]
    for other in counts[1:]:
        common &= other
    return tuple(common.elements())


def _alternatives(atom: Atom, chosen: Mapping[Atom, tuple[int, int]]) -> Iterator[Leaves]:
    """Yield the leaves of every alternative part of one dimension."""
    root = atom.root
    if root.size <= 1:
        yield ()
        return
    if root in chosen:
        piece = cut(root, *chosen[root])
        if piece.root is not root:
            yield from _alternatives(piece, chosen)
            return
    match root.form:
        case None:
            yield (root,)
        case Prod(factors):
            options = [set(_alternatives(f, chosen)) for f in factors]
            for parts in product(*options):
                yield tuple(leaf for part in parts for leaf in part)
        case Sum(parts):
            for part in parts:
                yield from _alternatives(part, chosen)
        case Fam(key, _, _):
            picked = restrict(root, key, *chosen[key.root]) if key.root in chosen else root
            if picked.root is root:
                for member in parts_of(root):
                    yield from _alternatives(member, chosen)
            else:
                yield from _alternatives(picked, chosen)


@dataclass
class Nesting:
    """Which atoms lie on parameters, and what each may depend on.

    Args:
        leaves: the atoms without form on parameters, in the order of the parameters.
        deps: for each of them the atoms whose position may select its order.
        merged: atoms that make one group of pairs, outermost first, for each of them.
    """

    leaves: list[Atom]
    deps: dict[Atom, set[Atom]]
    merged: dict[Atom, tuple[Atom, ...]] = field(default_factory=dict)

    def torn(self, dims: Dims) -> set[Atom]:
        """Return the merged atoms that a tensor does not hold in a row, as parameters do."""
        orders = {self.merged[root] for root in walk(dims) if root in self.merged}
        return {a for order in orders if _common_order([*order], [dims]) != order for a in order}


def find_nesting(parameters: Iterable[Dims], tensors: Iterable[Dims]) -> Nesting:
    """Intersect, for every atom on a parameter, what the tensors that carry it carry."""
    parameters = list(parameters)
    found = dict.fromkeys(
        leaf for dims in parameters for s in leaf_sets(dims) for block in s for leaf in block
    )
    deps: dict[Atom, set[Atom]] = {}
    seen = set()
    for dims in tensors:
        roots = tuple(atom.root for atom in dims)
        if roots in seen:
            continue
        seen.add(roots)
        for blocks in leaf_sets(roots):
            for block in blocks:
                _intersect(deps, block)
    nesting = Nesting(list(found), {leaf: deps.get(leaf, set()) for leaf in found})
    _merge(nesting, parameters)
    return nesting


def _intersect(deps: dict[Atom, set[Atom]], block: Leaves) -> None:
    counts = Counter(block)
    once = {leaf for leaf, count in counts.items() if count == 1 and selects(leaf)}
    for leaf in counts:
        if leaf in deps:
            deps[leaf] &= once
        else:
            deps[leaf] = once - {leaf}


def _merge(nesting: Nesting, parameters: list[Dims]) -> None:
    """Join mutually dependent atoms that always stand side by side; else keep one direction."""
    done: set[Atom] = set()
    for leaf in nesting.leaves:
        mutual = {o for o in nesting.deps[leaf] if o in nesting.deps and leaf in nesting.deps[o]}
        movable = [a for a in nesting.leaves if a in mutual | {leaf} and not a.pinned]
        if leaf.pinned or leaf in done or len(movable) < 2:
            continue
        done.update(movable)
        order = _common_order(movable, parameters)
        if order is not None:
            outside = set.intersection(*(nesting.deps[a] for a in order)) - set(order)
            for atom in order:
                nesting.merged[atom] = order
                nesting.deps[atom] = set(outside)
        else:
            for i, atom in enumerate(movable):
                nesting.deps[atom] -= set(movable[i + 1 :])
    for leaf, others in nesting.deps.items():
        if leaf.pinned:
            others.clear()


def _common_order(atoms: list[Atom], parameters: list[Dims]) -> tuple[Atom, ...] | None:
    """Return the order in which all products of all parameters hold these atoms in a row."""
    wanted, order = set(atoms), None
    for dims in parameters:
        for row in _rows(dims):
            places = [i for i, atom in enumerate(row) if atom in wanted]
            if not places:
                continue
            found = tuple(row[i] for i in places)
            contiguous = places == list(range(places[0], places[0] + len(atoms)))
            if not contiguous or (order is not None and found != order):
                return None
            order = found
    return order


def _rows(dims: Dims) -> Iterator[tuple[Atom, ...]]:
    """Yield the factors of every product in these dimensions, nested products opened."""
    for atom in dims:
        root = atom.root
        if isinstance(root.form, Prod):
            row: list[Atom] = []
            for factor in root.form.factors:
                inner = list(_rows((factor,)))
                row += inner[0] if len(inner) == 1 else ()
                if len(inner) > 1:
                    yield from inner
            yield tuple(row)
        elif root.form is None:
            yield (root,)
        else:
            for part in parts_of(root):
                yield from _rows((part,))
