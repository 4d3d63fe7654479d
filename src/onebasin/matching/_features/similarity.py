"""Similarity of the features of two networks' units, summed over examples.

The statistic is the inner product of the features or their correlation.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from onebasin._dtypes import compute_dtype
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree, View

Statistic = Literal["inner", "correlation"]

DEAD = 1e-12
"""Fraction of the mean variance below which a unit counts as constant."""


class FeatureSimilarity:
    """The similarities of one tree, `(outer, own, own)` for each key.

    Correlations are computed within each place. Two places of the same units, such as two points
    of a residual stream, may differ in scale and mean.

    Args:
        tree: the tree.
        statistic: the statistic.
    """

    def __init__(self, tree: Tree, statistic: Statistic) -> None:
        self.tree = tree
        self.statistic: Statistic = statistic
        self.products: dict[Key, Tensor] = {}
        self.moments: dict[Hashable, _Moments] = {}

    def add(
        self, place: Hashable, view: View, a: Tensor, b: Tensor, indices: Indices, weight: float
    ) -> bool:
        """Add a batch of features at one place.

        Args:
            place: identifier of the place.
            view: arrangement of the values.
            a, b: contiguous values of A and of unpermuted B.
            indices: indices of the other groups on the values.
            weight: weight of every entry.

        Returns:
            Whether all features are finite; otherwise the sums are invalid.
        """
        num_outer, size = view.key.num_outer(self.tree), view.width
        left, right = view.arrange(a), view.arrange(b)
        if view.movable:
            right = right.index_select(0, view.held.old_positions(indices).to(right.device))
        dtype = compute_dtype(left.dtype, right.dtype)
        left, right = (x.reshape(num_outer, -1, size).to(dtype) for x in (left, right))
        moments = self.moments.get(place)
        if moments is None:
            moments = self.moments[place] = _Moments.of(view.key, left, right, self.statistic)
        if self.statistic == "correlation":
            left, right = left - moments.mean_a, right - moments.mean_b
        if view.key not in self.products:
            self.products[view.key] = left.new_zeros(num_outer, size, size)
        total = self.products[view.key]
        total.baddbmm_(left.transpose(1, 2), right, alpha=weight * moments.scale)
        return moments.add(left, right, weight)

    def result(self) -> dict[Key, Tensor]:
        """Return the similarities, on the CPU."""
        if self.statistic == "inner":
            return {key: total.cpu() for key, total in self.products.items()}
        correlations = {}
        for key, total in self.products.items():
            total = total.double()
            variances = [torch.zeros_like(total[:, :, 0]) for _ in range(2)]
            for moments in self.moments.values():
                if moments.key == key:
                    total -= moments.product_of_means()
                    for variance, own in zip(variances, moments.variances(), strict=True):
                        variance += own
            factors = [_reciprocal_root(variance) for variance in variances]
            total *= factors[0][:, :, None] * factors[1][:, None, :]
            correlations[key] = total.to(self.products[key].dtype).cpu()
        return correlations


@dataclass
class _Moments:
    """First and second moments of the units at one place, after subtracting an initial mean.

    Args:
        key: key of the view.
        mean_a, mean_b: means of the first batch, which avoid cancellation.
        size_a, size_b: squared scales of the features of A and of B.
    """

    key: Key
    mean_a: Float[Tensor, "o 1 n"]
    mean_b: Float[Tensor, "o 1 n"]
    size_a: float
    size_b: float
    count: float = 0.0
    sums: tuple[Float64[Tensor, "o n"], ...] = ()

    @classmethod
    def of(
        cls, key: Key, a: Float[Tensor, "o m n"], b: Float[Tensor, "o m n"], statistic: Statistic
    ) -> _Moments:
        """Return empty moments, centered and scaled by the first batch."""
        size_a = size_b = 1.0
        if statistic == "correlation":
            size_a, size_b = (float(x.var(1, correction=0).mean()) or 1.0 for x in (a, b))
        return cls(key, a.mean(1, keepdim=True), b.mean(1, keepdim=True), size_a, size_b)

    @property
    def scale(self) -> float:
        """Factor of the products of features of A and B."""
        return (self.size_a * self.size_b) ** -0.5

    def add(self, a: Float[Tensor, "o m n"], b: Float[Tensor, "o m n"], weight: float) -> bool:
        """Add m centered features of every unit; return whether they are finite."""
        parts = (a.sum(1), b.sum(1), a.square().sum(1), b.square().sum(1))
        parts = tuple(weight * part.double() for part in parts)
        known = self.sums or tuple(torch.zeros_like(part) for part in parts)
        self.sums = tuple(x + y for x, y in zip(known, parts, strict=True))
        self.count += weight * a.shape[1]
        return bool(torch.isfinite(torch.stack(parts)).all())

    def product_of_means(self) -> Float64[Tensor, "o n n"]:
        """Return the products of the units' means."""
        a, b = self.sums[:2]
        return self.scale / self.count * a[:, :, None] * b[:, None, :]

    def variances(self) -> tuple[Float64[Tensor, "o n"], Float64[Tensor, "o n"]]:
        """Return the scaled sums of squares about the means, of A and of B."""
        a, b, square_a, square_b = self.sums
        return (
            (square_a - a.square() / self.count) / self.size_a,
            (square_b - b.square() / self.count) / self.size_b,
        )


def _reciprocal_root(variance: Float64[Tensor, "o n"]) -> Float64[Tensor, "o n"]:
    """Return one over the standard deviation; 0 for constant units."""
    alive = variance > DEAD * variance.mean()
    return torch.where(alive, variance, 1.0).rsqrt() * alive
