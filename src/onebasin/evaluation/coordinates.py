"""Orthonormal basis of the plane through three networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.evaluation.paths import check_same_names
from onebasin.graph.binding import bind

# Smallest angle between networks that float32 can resolve.
FLATTEST = 1e-6


@dataclass(frozen=True)
class Basis:
    """Coordinates of three networks in the plane through them.

    Args:
        places: coordinates of A, B and C: `(0, 0)`, `(x_b, 0)` and `(x_c, y_c)`.
    """

    places: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

    def weights_at(self, x: float, y: float) -> dict[int, float]:
        """Return the weights of A, B and C at the point `(x, y)`; they sum to 1.

        Example:
            >>> Basis(((0.0, 0.0), (2.0, 0.0), (1.0, 4.0))).weights_at(1.0, 2.0)
            {0: 0.25, 1: 0.25, 2: 0.5}
        """
        _, (x_b, _), (x_c, y_c) = self.places
        third = y / y_c
        second = (x - third * x_c) / x_b
        return {0: 1 - second - third, 1: second, 2: third}

    def grid(self, num_points: int, margin: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the coordinates of both axes of a grid around the three networks.

        Args:
            num_points: number of points along each axis.
            margin: extent beyond the networks, as a fraction of the longer side of their box.
        """
        sides = [(min(along), max(along)) for along in zip(*self.places, strict=True)]
        beyond = margin * max(high - low for low, high in sides)
        xs, ys = (
            torch.linspace(low - beyond, high + beyond, num_points, dtype=torch.float64).tolist()
            for low, high in sides
        )
        return tuple(xs), tuple(ys)


def basis_of(model: nn.Module, networks: Mapping[str, Mapping[str, Tensor]]) -> Basis:
    """Return the Gram-Schmidt basis of B - A and C - A, in this order.

    Args:
        model: the architecture, which defines parameters and tied names.
        networks: parameters and buffers of A, B and C by name.

    Raises:
        OneBasinError: they do not match the model or each other, lie on one line, or are not
            finite.
    """
    (name_a, a), (name_b, b), (name_c, c) = networks.items()
    for other in (b, c):
        check_same_names(a, other)
    bound = [bind(model, each) for each in (a, b, c)]
    u_u = u_v = v_v = 0.0
    for name, _ in model.named_parameters():
        origin, *ends = (each[name].detach().double().cpu().flatten() for each in bound)
        u, v = (end - origin for end in ends)
        u_u, u_v, v_v = u_u + float(u @ u), u_v + float(u @ v), v_v + float(v @ v)
    for name, params in zip(networks, bound, strict=True):
        for tensor, _ in model.named_parameters():
            if not bool(torch.isfinite(params[tensor]).all()):
                raise OneBasinError(
                    f"measure_plane: tensor {tensor!r} of {name} contains NaN or inf; pass another "
                    "network"
                )
    across = v_v - u_v * u_v / u_u if u_u else 0.0
    if not across > FLATTEST**2 * v_v:
        raise OneBasinError(
            f"measure_plane: {name_a}, {name_b} and {name_c} lie on one line, or two are equal; "
            "pass three networks that span a plane"
        )
    return Basis(((0.0, 0.0), (u_u**0.5, 0.0), (u_v / u_u**0.5, across**0.5)))
