"""Moments of units: mean and variance of every unit of a node, streamed over batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class UnitMoments:
    """Count, mean and summed squared distance from the mean.

    Args:
        count: values of each unit.
        mean: of each unit.
        spread: of each unit, the sum of squares about the mean.
    """

    count: float
    mean: Float64[Tensor, " u"]
    spread: Float64[Tensor, " u"]

    @classmethod
    def of(cls, value: Tensor, unit_dim: int, weight: float) -> UnitMoments:
        """Return the moments of one batch of features.

        Args:
            value: features.
            unit_dim: dimension that holds the units; all others are examples and positions.
            weight: of every value.
        """
        rows = value.movedim(unit_dim, 0).flatten(1).double()
        mean = rows.mean(1)
        return cls(weight * rows.shape[1], mean, weight * (rows - mean[:, None]).square().sum(1))

    def __add__(self, other: UnitMoments) -> UnitMoments:
        """Return the moments of both together (Chan et al., 1979)."""
        count = self.count + other.count
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.count / count)
        between = difference.square() * (self.count * other.count / count)
        return UnitMoments(count, mean, self.spread + other.spread + between)

    @property
    def variance(self) -> Float64[Tensor, " u"]:
        """The unbiased variance."""
        return self.spread / (self.count - 1)

    @property
    def deviation(self) -> Float64[Tensor, " u"]:
        """The standard deviation."""
        return (self.spread / self.count).sqrt()

    @property
    def size(self) -> Float64[Tensor, " u"]:
        """The root of the mean square."""
        return (self.spread / self.count + self.mean.square()).sqrt()

    @property
    def is_finite(self) -> bool:
        """Whether all features were."""
        return bool(torch.isfinite(self.mean).all() and torch.isfinite(self.spread).all())
