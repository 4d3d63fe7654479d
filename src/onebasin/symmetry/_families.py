"""Validation of families of layouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onebasin.errors import OneBasinError
from onebasin.symmetry.layouts import Family, Layout, Sum, children


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
