"""Groups of a symmetry and their nesting, from solved atoms.

A free atom on a parameter is a group. It may depend on the atoms that occur in every tensor
with the group. Mutually dependent atoms form one group of pairs.
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
    """Yield the leaves of every block of a tensor, for each choice of family members.

    Each yielded value has one entry per alternative part of one dimension: the leaves of the
    part, followed by the leaves common to all alternatives of the other dimensions.
    """
    marks = family_marks(dims)
    choices = [list(pairwise(edges)) for edges in marks.values()]
    total = 1
    for ranges in choices:
        total *= len(ranges)
    if total > MAX_CHOICES:  # too many choices to enumerate: allow no dependencies
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
    """Atoms on parameters and their possible dependencies.

    Args:
        leaves: the atoms without form on parameters, in the order of the parameters.
        deps: for each leaf the atoms whose position may select its order.
        merged: for each atom of a group of pairs all its atoms, outermost first.
    """

    leaves: list[Atom]
    deps: dict[Atom, set[Atom]]
    merged: dict[Atom, tuple[Atom, ...]] = field(default_factory=dict)

    def split(self, dims: Dims) -> set[Atom]:
        """Return the merged atoms that are not adjacent in a tensor, unlike in parameters."""
        orders = {self.merged[root] for root in walk(dims) if root in self.merged}
        return {a for order in orders if _common_order([*order], [dims]) != order for a in order}


def find_nesting(parameters: Iterable[Dims], tensors: Iterable[Dims]) -> Nesting:
    """Return the atoms on parameters, with the atoms that occur in all tensors with them."""
    parameters = list(parameters)
    atoms = dict.fromkeys(
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
    nesting = Nesting(list(atoms), {leaf: deps.get(leaf, set()) for leaf in atoms})
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
    """Merge mutually dependent atoms that are always adjacent; else keep one direction."""
    done: set[Atom] = set()
    for leaf in nesting.leaves:
        mutual = {o for o in nesting.deps[leaf] if o in nesting.deps and leaf in nesting.deps[o]}
        movable = [a for a in nesting.leaves if a in mutual | {leaf} and not a.fixed_by]
        if leaf.fixed_by or leaf in done or len(movable) < 2:
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
        if leaf.fixed_by:
            others.clear()


def _common_order(atoms: list[Atom], parameters: list[Dims]) -> tuple[Atom, ...] | None:
    """Return the order in which all products of parameters contain these adjacent atoms."""
    wanted, order = set(atoms), None
    for dims in parameters:
        for row in _rows(dims):
            places = [i for i, atom in enumerate(row) if atom in wanted]
            if not places:
                continue
            row_order = tuple(row[i] for i in places)
            contiguous = places == list(range(places[0], places[0] + len(atoms)))
            if not contiguous or (order is not None and row_order != order):
                return None
            order = row_order
    return order


def _rows(dims: Dims) -> Iterator[tuple[Atom, ...]]:
    """Yield the factors of every product in these dimensions, with nested products flattened."""
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
