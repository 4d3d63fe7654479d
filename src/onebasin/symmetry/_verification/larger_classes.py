"""Symmetries in which one group has a larger class, to test that its own class is largest.

The larger maps act on every axis of the group by the inferred variances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from onebasin.symmetry.actions import MIXING, GroupAction, SymmetryClass
from onebasin.symmetry.symmetry import Symmetry

_LARGER_MIXING: dict[str, SymmetryClass] = {
    "orthogonal with ones": "orthogonal",
    "orthogonal": "general linear",
}


def with_larger_class(symmetry: Symmetry, group: str) -> Iterator[tuple[SymmetryClass, Symmetry]]:
    """Yield the classes just above that of a group, each with a symmetry.

    In the symmetry, the group has only the maps that its class does not contain, and all other
    groups have permutations only. Groups that others nest in are not tested, because their signs
    and scales are maps of the inner groups.
    """
    action = symmetry.actions.get(group)
    is_outer = any(group in other.nested_in for other in symmetry.groups.values())
    if action is None or not action.variances or is_outer:
        return
    for each in _larger(action, symmetry.size_of(group)):
        yield each.symmetry_class, replace(symmetry, actions={group: each})


def _larger(action: GroupAction, size: int) -> Iterator[GroupAction]:
    if action.symmetry_class in MIXING:
        if action.symmetry_class in _LARGER_MIXING:
            yield replace(action, symmetry_class=_LARGER_MIXING[action.symmetry_class])
        return
    plain = replace(action, scales=(), signs=(), gains=())
    if not action.signs:
        name = "monomial" if action.scales else "signed permutation"
        yield replace(plain, symmetry_class=name, signs=(dict.fromkeys(action.variances, 1),))
    if not action.scales:
        name = "monomial" if action.signs else "positive scales"
        yield replace(plain, symmetry_class=name, scales=(action.variances,))
    if size > 2:  # two units are only exchanged
        yield replace(plain, symmetry_class="orthogonal with ones")
