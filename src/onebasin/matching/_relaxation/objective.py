"""Inner products of several networks under relaxed permutations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from onebasin.matching._coordinate_descent.network_set import NetworkSet
from onebasin.matching._relaxation.relaxation import Relaxation, Relaxed, lerp

Points: TypeAlias = Sequence[dict[str, Tensor]]
"""A relaxed permutation for every network except the first, which is fixed."""


class InnerProductObjective:
    r"""The sum \(\sum_{i<j} \langle P_i(\theta_i), P_j(\theta_j) \rangle\) over relaxed P.

    Args:
        network_set: the networks.
        relaxation: relaxation of their symmetry.
    """

    def __init__(self, network_set: NetworkSet, relaxation: Relaxation) -> None:
        self.network_set, self.relaxation = network_set, relaxation
        degrees = [relaxation.degree(name) for name in network_set.names]
        self.degree = max([1, *degrees]) * (2 if len(network_set) > 2 else 1)
        self.constant = 0.0
        self.moving = [name for name in network_set.names if relaxation.groups_of(name)]
        for name in set(network_set.names) - set(self.moving):
            still = [network_set.unmoved(number, name) for number in range(len(network_set))]
            self.constant += float(_sum_of_inner_products(still))

    def gradients(self, points: Points) -> tuple[float, list[dict[str, Tensor]]]:
        """Return the objective and its gradient for every matrix."""
        leaves = [
            {group: matrices.detach().requires_grad_() for group, matrices in point.items()}
            for point in points
        ]
        value = self.constant
        for name in self.moving:
            part = _sum_of_inner_products(self._moved(name, leaves))
            part.backward()
            value += float(part.detach())
        return value, [
            {g: torch.zeros_like(m) if m.grad is None else m.grad for g, m in leaf.items()}
            for leaf in leaves
        ]

    @torch.no_grad()
    def along(self, start: Points, end: Points, fractions: Sequence[float]) -> list[float]:
        """Return the objective at some fractions of the way between two points."""
        values = []
        for fraction in fractions:
            points = [lerp(a, b, fraction) for a, b in zip(start, end, strict=True)]
            parts = (
                float(_sum_of_inner_products(self._moved(name, points))) for name in self.moving
            )
            values.append(self.constant + sum(parts))
        return values

    def _moved(self, name: str, points: Sequence[Relaxed]) -> list[Tensor]:
        moved = [self.network_set.unmoved(0, name)]
        for number, point in enumerate(points, start=1):
            tensor = self.network_set.unmoved(number, name)
            moved.append(self.relaxation.move(name, tensor, point))
        return moved


def _sum_of_inner_products(tensors: Sequence[Tensor]) -> Float64[Tensor, ""]:
    """Return the inner products of all pairs, summed in float64."""
    total, before = torch.zeros((), dtype=torch.float64), tensors[0]
    for tensor in tensors[1:]:
        total = total + (before * tensor).sum(dtype=torch.float64)
        before = before + tensor
    return total


def polynomial_peak(values: Mapping[float, float]) -> tuple[float, float]:
    """Return the maximum in [0, 1] of the polynomial through some values, as (position, value).

    Args:
        values: values by position in [0, 1], as many as the polynomial has coefficients.

    Example:
        >>> polynomial_peak({0.0: 0.0, 0.5: 1.0, 1.0: 0.0})
        (0.5, 1.0)
    """
    places = torch.tensor(list(values), dtype=torch.float64)
    heights = torch.tensor(list(values.values()), dtype=torch.float64)
    powers = torch.arange(len(places))
    coefficients = torch.linalg.solve(places[:, None] ** powers, heights)
    derivative = (coefficients * powers)[1:]
    candidates = [0.0, 1.0, *_roots(derivative)]
    grid = torch.tensor(candidates, dtype=torch.float64)
    candidate_values = (grid[:, None] ** powers) @ coefficients
    best = int(candidate_values.argmax())
    return round(candidates[best], 12), float(candidate_values[best])


def _roots(coefficients: Float64[Tensor, " m"]) -> list[float]:
    """Return the real roots in [0, 1] of a polynomial, lowest power first."""
    roots = np.polynomial.Polynomial(coefficients.numpy()).roots()
    return [float(r.real) for r in roots if abs(r.imag) < 1e-9 and 0 <= r.real <= 1]
