"""Classes of groups, and how their maps act on parameters and buffers.

A group's class is the largest set of linear maps of its units that leaves the model's function
unchanged. Permutations act on all dimensions with the group. Larger classes act on each axis by
the map or by its inverse transpose, or scale units by powers of one or more scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from onebasin.errors import OneBasinError

SymmetryClass: TypeAlias = Literal[
    "permutation",
    "signed permutation",
    "positive scales",
    "monomial",
    "orthogonal with ones",
    "orthogonal",
    "general linear",
]
"""A set of linear maps of the units of a group.

Args:
    permutation: permutations.
    signed permutation: permutations with signs.
    positive scales: permutations with a positive scale of each unit.
    monomial: permutations with a positive or negative scale of each unit.
    orthogonal with ones: orthogonal maps that keep the vector of ones.
    orthogonal: orthogonal maps.
    general linear: invertible maps.
"""

Classes: TypeAlias = Literal["all", "permutation"]
"""The classes of groups that an inference allows: all of them, or permutations only."""

MIXING: frozenset[str] = frozenset({"orthogonal with ones", "orthogonal", "general linear"})
"""Classes whose maps mix units."""


class Axis(NamedTuple):
    """An axis of a block of a tensor.

    Args:
        tensor: name of the tensor.
        block: number of the block in `Symmetry.blocks`.
        axis: number of the axis in the block.
    """

    tensor: str
    block: int
    axis: int


Exponents: TypeAlias = Mapping[Axis, int]
"""The power of a scale at each axis; other axes are not scaled."""


@dataclass(frozen=True)
class Gain:
    """A gain of a normalization, which is folded into other tensors while units are mixed.

    Args:
        axis: axis of the gain.
        offset: number that the model adds to the tensor, such as 1 for `1 + weight`.
        exponents: powers by which the gain is multiplied into each axis so that it becomes one:
            an axis with power p is divided by the p-th power of the gain.
    """

    axis: Axis
    offset: float
    exponents: Exponents


@dataclass(frozen=True)
class GroupAction:
    """The maps of a group that are not only permutations.

    Args:
        symmetry_class: the class.
        variances: for each axis 1 if maps that mix units act on it, and -1 if their inverse
            transposes do.
        scales: exponents of each independent scale; for a class that mixes units, those of the
            gains in the same order.
        signs: the same for independent signs.
        gains: gains that are folded.
        offsets: numbers that the model adds to a tensor before it is scaled.
        reason: the operator or tensor that excludes maps that mix units.
    """

    symmetry_class: SymmetryClass
    variances: Mapping[Axis, int]
    scales: tuple[Exponents, ...] = ()
    signs: tuple[Exponents, ...] = ()
    gains: tuple[Gain, ...] = ()
    offsets: Mapping[Axis, float] | None = None
    reason: str = ""

    @property
    def mixes(self) -> bool:
        """Whether its maps mix units."""
        return self.symmetry_class in MIXING

    def to_json(self) -> dict[str, Any]:
        """Return the action as plain JSON values."""
        return {
            "class": self.symmetry_class,
            "variances": _pairs(self.variances),
            "scales": [_pairs(each) for each in self.scales],
            "signs": [_pairs(each) for each in self.signs],
            "gains": [
                {"axis": [*g.axis], "offset": g.offset, "exponents": _pairs(g.exponents)}
                for g in self.gains
            ],
            "offsets": _pairs(self.offsets or {}),
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, data: Any) -> GroupAction:
        """Return an action from the output of `to_json`.

        Raises:
            OneBasinError: the data are not an action.
        """
        try:
            return cls(
                symmetry_class=data["class"],
                variances=_mapping(data["variances"]),
                scales=tuple(map(_mapping, data["scales"])),
                signs=tuple(map(_mapping, data["signs"])),
                gains=tuple(
                    Gain(Axis(*g["axis"]), float(g["offset"]), _mapping(g["exponents"]))
                    for g in data["gains"]
                ),
                offsets=_mapping(data["offsets"]),
                reason=str(data["reason"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise OneBasinError(
                f"the action of a group is invalid ({error}); write it again"
            ) from error


def _pairs(exponents: Mapping[Axis, Any]) -> list[list[Any]]:
    return [[*axis, value] for axis, value in exponents.items()]


def _mapping(pairs: Any) -> dict[Axis, Any]:
    return {Axis(str(tensor), int(block), int(axis)): value for tensor, block, axis, value in pairs}
