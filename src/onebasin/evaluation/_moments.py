"""Mean and variance of every unit of a node, accumulated over batches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class UnitMoments:
    """Count, mean and sum of squares about the mean.

    Args:
        count: weighted number of values of each unit.
        mean: mean of each unit.
        sum_of_squares: sum of squares about the mean of each unit.
    """

    count: float
    mean: Float64[Tensor, " u"]
    sum_of_squares: Float64[Tensor, " u"]

    @classmethod
    def of(cls, value: Tensor, unit_dim: int, weight: float) -> UnitMoments:
        """Return the moments of one batch of features.

        Args:
            value: features.
            unit_dim: dimension of the units; all others are examples and positions.
            weight: weight of every value.
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
        return UnitMoments(count, mean, self.sum_of_squares + other.sum_of_squares + between)

    @property
    def variance(self) -> Float64[Tensor, " u"]:
        """The unbiased variance."""
        return self.sum_of_squares / (self.count - 1)

    @property
    def std(self) -> Float64[Tensor, " u"]:
        """The standard deviation."""
        return (self.sum_of_squares / self.count).sqrt()

    @property
    def rms(self) -> Float64[Tensor, " u"]:
        """The root mean square."""
        return (self.sum_of_squares / self.count + self.mean.square()).sqrt()

    @property
    def is_finite(self) -> bool:
        """Whether all features are finite."""
        return bool(torch.isfinite(self.mean).all() and torch.isfinite(self.sum_of_squares).all())
