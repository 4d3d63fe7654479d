"""Layouts: the structure of one tensor dimension.

Owns the five terms of the layout algebra (`Fixed`, `Units`, `Product`, `Sum`, `Family`),
their sizes and their JSON form. Layouts do not record how they were inferred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

from onebasin.errors import OneBasinError


@dataclass(frozen=True)
class Fixed:
    """Positions that cannot be permuted.

    Args:
        size: number of positions.
        reason: explanation for users; not part of the symmetry's identity.
    """

    size: int
    reason: str = ""

    def __str__(self) -> str:
        return str(self.size)


@dataclass(frozen=True)
class Units:
    """The units of one group (or of one fixed axis that other groups nest in).

    Args:
        group: name of the group or axis.
        size: number of units.
    """

    group: str
    size: int

    def __str__(self) -> str:
        return f"{self.group}:{self.size}"


@dataclass(frozen=True)
class Product:
    """Row-major product of layouts, outermost first: the result of flattening dimensions."""

    factors: tuple[Layout, ...]

    @property
    def size(self) -> int:
        """Number of positions: the product of the factors' sizes."""
        return prod(factor.size for factor in self.factors)

    def __str__(self) -> str:
        return "(" + " × ".join(map(str, self.factors)) + ")"


@dataclass(frozen=True)
class Sum:
    """Consecutive layouts: the result of a concatenation.

    Args:
        parts: the layouts, in order.
        key: name by which a `Family` of the same tensor refers to this sum, or "".
    """

    parts: tuple[Layout, ...]
    key: str = ""

    @property
    def size(self) -> int:
        """Number of positions: the sum of the parts' sizes."""
        return sum(part.size for part in self.parts)

    def __str__(self) -> str:
        return "(" + " + ".join(map(str, self.parts)) + ")"


@dataclass(frozen=True)
class Family:
    """A layout that depends on the part of the sum `key` that contains the entry.

    A fused projection `(3, heads, head_dim)` has one `heads` layout for each of the
    three positions of its first dimension.

    Args:
        key: the key of a `Sum` in the same tensor.
        members: one layout of equal size for each part of that sum.
    """

    key: str
    members: tuple[Layout, ...]

    @property
    def size(self) -> int:
        """Number of positions, equal for all members."""
        return self.members[0].size

    def __str__(self) -> str:
        return "{" + " | ".join(map(str, self.members)) + "}"


Layout: TypeAlias = Fixed | Units | Product | Sum | Family
"""The composition of one dimension of a tensor."""


def leaves(layout: Layout) -> Iterator[Fixed | Units]:
    """Yield every `Fixed` and `Units` of a layout, from the outermost and first part on."""
    if isinstance(layout, Fixed | Units):
        yield layout
        return
    for child in children(layout):
        yield from leaves(child)


def children(layout: Layout) -> tuple[Layout, ...]:
    """Return the direct parts of a layout; a leaf has none."""
    match layout:
        case Product(factors):
            return factors
        case Sum(parts, _):
            return parts
        case Family(_, members):
            return members
        case _:
            return ()


def substituted(layout: Layout, replace: Callable[[Units], Layout]) -> Layout:
    """Return a layout with every `Units` replaced by the result of a function."""
    match layout:
        case Units():
            return replace(layout)
        case Product(factors):
            return Product(tuple(substituted(factor, replace) for factor in factors))
        case Sum(parts, key):
            return Sum(tuple(substituted(part, replace) for part in parts), key)
        case Family(key, members):
            return Family(key, tuple(substituted(member, replace) for member in members))
        case _:
            return layout


def layout_to_json(layout: Layout) -> dict[str, Any]:
    """Return a layout as plain JSON values."""
    match layout:
        case Fixed(size, reason):
            return {"fixed": size} | ({"reason": reason} if reason else {})
        case Units(group, size):
            return {"units": group, "size": size}
        case Product(factors):
            return {"product": [layout_to_json(factor) for factor in factors]}
        case Sum(parts, key):
            return {"sum": [layout_to_json(part) for part in parts]} | ({"key": key} if key else {})
        case Family(key, members):
            return {"family": [layout_to_json(member) for member in members], "key": key}


def check_families(name: str, layouts: Sequence[Layout]) -> None:
    """Check that each family has one member of equal size for each part of its sum."""
    parts = {t.key: len(t.parts) for t in _terms(layouts) if isinstance(t, Sum) and t.key}
    for family in _terms(layouts):
        if not isinstance(family, Family):
            continue
        if family.key not in parts:
            raise OneBasinError(
                f"tensor {name!r} has a family but no sum {family.key!r}; set this key on"
                " the sum that the family refers to"
            )
        sizes = {member.size for member in family.members}
        if len(family.members) != parts[family.key] or len(sizes) != 1:
            raise OneBasinError(
                f"tensor {name!r} has a family {family} but its sum {family.key!r} has"
                f" {parts[family.key]} parts; give one member of equal size per part"
            )


def _terms(layouts: Iterable[Layout]) -> Iterator[Layout]:
    for layout in layouts:
        yield layout
        yield from _terms(children(layout))
