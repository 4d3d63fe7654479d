"""Atoms: the type variables of layout inference.

An atom stands for the layout of a dimension of known size. It is unknown at first, and
may be united with another atom, pinned, or given a form: a product, a sum or a family of
smaller atoms. Owns the terms and how to build and walk them, not how they are solved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import TypeAlias


@dataclass(frozen=True, eq=False)
class Reason:
    """Why an atom was pinned.

    Args:
        text: what happens to the order of the units, in a few words.
        operator: the operator that pinned it, where there is one.
        location: place in the user's source.
        refused: whether the operator is one that has no rule (or none that fits).
    """

    text: str
    operator: str = ""
    location: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Prod:
    """Row-major product of atoms, outermost first."""

    factors: Dims


@dataclass(frozen=True)
class Sum:
    """Concatenation of atoms."""

    parts: Dims


@dataclass(frozen=True)
class Fam:
    """A layout chosen by the position in another dimension.

    Member `i` holds where that position lies in the i-th of consecutive `spans` of `key`.
    """

    key: Atom
    spans: tuple[int, ...]
    members: Dims

    def ranges(self) -> Iterator[tuple[int, int, Atom]]:
        """Yield (start, stop, member) for every span of the key."""
        for stop, span, member in zip(
            accumulate(self.spans), self.spans, self.members, strict=True
        ):
            yield stop - span, stop, member


Form: TypeAlias = Prod | Sum | Fam


@dataclass(eq=False)
class Atom:
    """A type variable for the layout of one dimension.

    Args:
        size: number of positions.
        form: what it is made of, once known.
        pinned: why its positions cannot move, if they cannot; set on atoms without form.
        homes: the dimensions of every parameter that carries it.
        places: the atoms it was cut out of, and where in them it begins.
        scrambled: whether different positions of it meet in one operator, so that no other
            dimension can depend on where in it one is.
    """

    size: int
    form: Form | None = None
    pinned: Reason | None = None
    homes: frozenset[Dims] = frozenset()
    parent: Atom | None = None
    scrambled: bool = False
    places: dict[Atom, set[int]] = field(default_factory=dict, repr=False)
    ranges: dict[tuple[int, int], Atom] = field(default_factory=dict, repr=False)
    splits: dict[int, tuple[Atom, Atom]] = field(default_factory=dict, repr=False)

    __hash__ = object.__hash__

    @property
    def root(self) -> Atom:
        """The atom that stands for all atoms united with this one."""
        atom = self
        while atom.parent is not None:
            atom = atom.parent
        while self.parent is not None and self.parent is not atom:
            self.parent, self = atom, self.parent  # path compression
        return atom


Dims: TypeAlias = tuple[Atom, ...]

ONE = Atom(1)
"""The only atom of size one: a single position has nothing to move."""


def fresh(size: int, pinned: Reason | None = None) -> Atom:
    """Return an atom that nothing is known about but its size."""
    return ONE if size == 1 else Atom(size, pinned=pinned)


def derived(size: int, source: Atom) -> Atom:
    """Return a part or factor of an atom without form: as pinned, in the same parameters."""
    return ONE if size == 1 else Atom(size, pinned=source.pinned, homes=source.homes)


def product_of(factors: Iterable[Atom]) -> Atom:
    """Return the atom of a product, outermost factor first."""
    kept = tuple(factor.root for factor in factors if factor.size != 1)
    if len(kept) == 1:
        return kept[0]
    return Atom(prod(factor.size for factor in kept), Prod(kept)) if kept else ONE


def sum_of(parts: Iterable[Atom]) -> Atom:
    """Return the atom of a concatenation."""
    kept = tuple(part.root for part in parts if part.size != 0)
    if len(kept) == 1:
        return kept[0]
    return Atom(sum(part.size for part in kept), Sum(kept))


def family_of(key: Atom, spans: Sequence[int], members: Sequence[Atom]) -> Atom:
    """Return the atom of a family; where all members are one atom, that atom."""
    roots = tuple(member.root for member in members)
    if all(root is roots[0] for root in roots):
        return roots[0]
    if all(root.form is None and root.pinned for root in roots):
        return Atom(roots[0].size, pinned=roots[0].pinned)
    return Atom(roots[0].size, Fam(key.root, tuple(spans), roots))


def flat_factors(atom: Atom) -> list[Atom]:
    """Return the factors of an atom, products within products opened."""
    root = atom.root
    if isinstance(root.form, Prod):
        return [f for factor in root.form.factors for f in flat_factors(factor)]
    return [root]


def flat_parts(atom: Atom) -> list[Atom]:
    """Return the parts of an atom, sums within sums opened."""
    root = atom.root
    if isinstance(root.form, Sum):
        return [p for part in root.form.parts for p in flat_parts(part)]
    return [root]


def parts_of(atom: Atom) -> Dims:
    """Return what an atom is directly made of; an atom without form has none."""
    match atom.root.form:
        case Prod(atoms) | Sum(atoms) | Fam(_, _, atoms):
            return atoms
        case _:
            return ()


def walk(dims: Iterable[Atom]) -> Iterator[Atom]:
    """Yield every root that occurs in these dimensions, as often as it occurs."""
    for atom in dims:
        root = atom.root
        yield root
        yield from walk(parts_of(root))


def selects(atom: Atom) -> bool:
    """Whether other dimensions can depend on the position in an atom."""
    root = atom.root
    return not (root.scrambled or any(whole.root.scrambled for whole in root.places))


def is_pinned(atom: Atom) -> bool:
    """Whether nothing in an atom can move."""
    root = atom.root
    if root.size <= 1:
        return True
    return root.pinned is not None if root.form is None else all(map(is_pinned, parts_of(root)))


def pinned_reason(atoms: Iterable[Atom]) -> Reason:
    """Return why atoms that cannot move were pinned: the first reason among them."""
    reasons = (root.pinned for root in walk(atoms) if root.pinned is not None)
    return next(reasons, Reason("pinned"))
