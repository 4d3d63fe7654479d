"""Coordinates: an orthonormal basis of the plane through three networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.evaluation.paths import check_same_names
from onebasin.graph.binding import bind

# Networks whose angle is smaller than rounding in float32 can tell span no plane.
FLATTEST = 1e-6


@dataclass(frozen=True)
class Basis:
    """Where three networks lie in the plane through them.

    Args:
        places: coordinates of A, B and C: `(0, 0)`, `(x_b, 0)` and `(x_c, y_c)`.
    """

    places: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

    def shares(self, x: float, y: float) -> dict[int, float]:
        """Return the shares of A, B and C in the point at `(x, y)`; they add up to 1.

        Example:
            >>> Basis(((0.0, 0.0), (2.0, 0.0), (1.0, 4.0))).shares(1.0, 2.0)
            {0: 0.25, 1: 0.25, 2: 0.5}
        """
        _, (x_b, _), (x_c, y_c) = self.places
        third = y / y_c
        second = (x - third * x_c) / x_b
        return {0: 1 - second - third, 1: second, 2: third}

    def grid(self, num_points: int, margin: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the coordinates along both axes of a grid around the three networks.

        Args:
            num_points: along each axis.
            margin: how far it reaches beyond them, as a share of their box's longer side.
        """
        sides = [(min(along), max(along)) for along in zip(*self.places, strict=True)]
        beyond = margin * max(high - low for low, high in sides)
        xs, ys = (
            torch.linspace(low - beyond, high + beyond, num_points, dtype=torch.float64).tolist()
            for low, high in sides
        )
        return tuple(xs), tuple(ys)


def basis_of(model: nn.Module, networks: Mapping[str, Mapping[str, Tensor]]) -> Basis:
    """Return the basis that Gram and Schmidt make of B - A and C - A, in this order.

    Args:
        model: the architecture, which says what is a parameter and which names are tied.
        networks: by name the parameters and buffers of A, B and C.

    Raises:
        OneBasinError: when they do not fit the model or each other, two are equal, all lie on
            one line, or one is not finite.
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
                    f"measure_plane: tensor {tensor!r} of {name} has entries that are not finite, "
                    "so that it has no place on a plane; give another network"
                )
    across = v_v - u_v * u_v / u_u if u_u else 0.0
    if not across > FLATTEST**2 * v_v:
        raise OneBasinError(
            f"measure_plane: {name_a}, {name_b} and {name_c} lie on one line (or two are equal); "
            "give three networks that span a plane"
        )
    return Basis(((0.0, 0.0), (u_u**0.5, 0.0), (u_v / u_u**0.5, across**0.5)))
