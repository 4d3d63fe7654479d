"""Bounds: the linear maps of a group's units that an operator admits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """A set of linear maps that contains the permutations.

    Args:
        scales: whether it contains all positive scales of single units.
        signs: whether it contains all changes of the signs of single units.
        mixes: whether it contains maps that mix units.
        is_orthogonal: whether its maps that mix units are orthogonal.
        keeps_ones: whether its maps that mix units keep the vector of ones.
    """

    scales: bool = True
    signs: bool = True
    mixes: bool = True
    is_orthogonal: bool = False
    keeps_ones: bool = False

    def __and__(self, other: Bound) -> Bound:
        """Return the intersection of both sets."""
        return Bound(
            self.scales and other.scales,
            self.signs and other.signs,
            self.mixes and other.mixes,
            self.is_orthogonal or other.is_orthogonal,
            self.keeps_ones or other.keeps_ones,
        )


LINEAR = Bound()
PERMUTATION = Bound(scales=False, signs=False, mixes=False)
POSITIVE = Bound(signs=False, mixes=False)
SIGNED = Bound(scales=False, mixes=False)
MONOMIAL = Bound(mixes=False)
ORTHOGONAL = Bound(scales=False, is_orthogonal=True)
KEEPS_ONES = Bound(scales=False, signs=False, keeps_ones=True)
