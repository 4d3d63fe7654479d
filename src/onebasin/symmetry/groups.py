"""Groups of units, and operators that no rule supports."""

from __future__ import annotations

from dataclasses import dataclass, field

from onebasin.symmetry.actions import SymmetryClass


@dataclass(frozen=True)
class Group:
    """Units that are permuted together in all tensors.

    Args:
        name: name and dimension of a parameter with this group.
        size: number of units.
        nested_in: the groups or fixed axes it nests in, outermost first. The units have a
            separate order for each unit of these groups. A tensor with this group has the
            outer groups, too.
        symmetry_class: the largest known set of linear maps of the units that leaves the
            model's function unchanged.
    """

    name: str
    size: int
    nested_in: tuple[str, ...] = ()
    symmetry_class: SymmetryClass = field(default="permutation", compare=False)


@dataclass(frozen=True)
class UnsupportedOp:
    """An operator whose tensors are fixed because their layouts could not be inferred.

    Args:
        operator: for example `aten.cumsum.default`.
        location: file, line and code in the user's source, if known.
        reason: effect of the operator on the order of the units, or "no rule".
        tensors: names of the parameters and buffers that it fixed.
    """

    operator: str
    location: str
    reason: str
    tensors: tuple[str, ...] = ()
