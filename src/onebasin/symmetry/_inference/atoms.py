"""Atoms: the type variables of layout inference.

An atom represents the layout of a dimension of known size. It is unknown at first. It may be
unified with another atom, fixed, or given a form: a product, a sum or a family of smaller
atoms. Owns the terms and their construction and traversal, not the solution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import TypeAlias


@dataclass(frozen=True, eq=False)
class Reason:
    """The reason why an atom is fixed.

    Args:
        text: short description of the effect on the order of the units.
        operator: the operator that fixed it, if any.
        location: location in the user's source.
        unsupported: whether the operator is unsupported.
    """

    text: str
    operator: str = ""
    location: str = ""
    unsupported: bool = False


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
    """A layout selected by the position in another dimension.

    Member `i` applies to positions in the i-th of the consecutive `spans` of `key`.
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

    size: number of positions.
    form: its structure, if known.
    fixed_by: the reason why it is fixed, if it is; only for atoms without form.
    homes: the dimensions of every parameter that contains it.
    places: the atoms it was cut from, with its offsets in them.
    scrambled: whether an operator combines different positions of it, so that no other
        dimension can depend on the position in it.
    """

    size: int
    form: Form | None = None
    fixed_by: Reason | None = None
    homes: frozenset[Dims] = frozenset()
    parent: Atom | None = None
    scrambled: bool = False
    places: dict[Atom, set[int]] = field(default_factory=dict, repr=False)
    ranges: dict[tuple[int, int], Atom] = field(default_factory=dict, repr=False)
    splits: dict[int, tuple[Atom, Atom]] = field(default_factory=dict, repr=False)

    __hash__ = object.__hash__

    @property
    def root(self) -> Atom:
        """The representative of all atoms unified with this one."""
        atom = self
        while atom.parent is not None:
            atom = atom.parent
        while self.parent is not None and self.parent is not atom:
            self.parent, self = atom, self.parent  # path compression
        return atom


Dims: TypeAlias = tuple[Atom, ...]

ONE = Atom(1)
"""The only atom of size one: a single position has no units to permute."""


def fresh(size: int, fixed_by: Reason | None = None) -> Atom:
    """Return an atom of known size and unknown form."""
    return ONE if size == 1 else Atom(size, fixed_by=fixed_by)


def derived(size: int, source: Atom) -> Atom:
    """Return a part or factor of an atom without form, with its reason and parameters."""
    return ONE if size == 1 else Atom(size, fixed_by=source.fixed_by, homes=source.homes)


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
    """Return the atom of a family, or its member if all members are one atom."""
    roots = tuple(member.root for member in members)
    if all(root is roots[0] for root in roots):
        return roots[0]
    if all(root.form is None and root.fixed_by for root in roots):
        return Atom(roots[0].size, fixed_by=roots[0].fixed_by)
    return Atom(roots[0].size, Fam(key.root, tuple(spans), roots))


def flat_factors(atom: Atom) -> list[Atom]:
    """Return the factors of an atom, with nested products flattened."""
    root = atom.root
    if isinstance(root.form, Prod):
        return [f for factor in root.form.factors for f in flat_factors(factor)]
    return [root]


def flat_parts(atom: Atom) -> list[Atom]:
    """Return the parts of an atom, with nested sums flattened."""
    root = atom.root
    if isinstance(root.form, Sum):
        return [p for part in root.form.parts for p in flat_parts(part)]
    return [root]


def parts_of(atom: Atom) -> Dims:
    """Return the direct components of an atom; an atom without form has none."""
    match atom.root.form:
        case Prod(atoms) | Sum(atoms) | Fam(_, _, atoms):
            return atoms
        case _:
            return ()


def walk(dims: Iterable[Atom]) -> Iterator[Atom]:
    """Yield every root in these dimensions, once per occurrence."""
    for atom in dims:
        root = atom.root
        yield root
        yield from walk(parts_of(root))


def selects(atom: Atom) -> bool:
    """Whether other dimensions can depend on the position in an atom."""
    root = atom.root
    return not (root.scrambled or any(whole.root.scrambled for whole in root.places))


def is_fixed(atom: Atom) -> bool:
    """Whether all positions of an atom are fixed."""
    root = atom.root
    if root.size <= 1:
        return True
    return root.fixed_by is not None if root.form is None else all(map(is_fixed, parts_of(root)))


def fixing_reason(atoms: Iterable[Atom]) -> Reason:
    """Return the first reason why atoms are fixed."""
    reasons = (root.fixed_by for root in walk(atoms) if root.fixed_by is not None)
    return next(reasons, Reason("fixed"))
