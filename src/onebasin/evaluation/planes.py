"""Losses on the plane through three networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from onebasin._checks import check_model, checks_arguments
from onebasin._text import counted
from onebasin.errors import ArgumentError, check_amount, check_choice, check_whole, public
from onebasin.evaluation._paths import check_same_names
from onebasin.evaluation._points import evaluate_points
from onebasin.evaluation.curves import LineNormalization, Quantity
from onebasin.evaluation.evaluator import Evaluate
from onebasin.evaluation.interpolation import preparation_for
from onebasin.evaluation.plotting import INK
from onebasin.evaluation.results import Result, axes_for
from onebasin.graph.binding import bind_params

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Smallest angle between networks that float32 can resolve.
FLATTEST = 1e-6


@dataclass(frozen=True)
class Basis:
    """Coordinates of three networks in the plane through them.

    Args:
        coordinates: coordinates of A, B and C: `(0, 0)`, `(x_b, 0)` and `(x_c, y_c)`.
    """

    coordinates: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

    def weights_at(self, x: float, y: float) -> dict[int, float]:
        """Return the weights of A, B and C at the point `(x, y)`; they sum to 1.

        Example:
            >>> Basis(((0.0, 0.0), (2.0, 0.0), (1.0, 4.0))).weights_at(1.0, 2.0)
            {0: 0.25, 1: 0.25, 2: 0.5}
        """
        _, (x_b, _), (x_c, y_c) = self.coordinates
        third = y / y_c
        second = (x - third * x_c) / x_b
        return {0: 1 - second - third, 1: second, 2: third}

    def grid(self, num_points: int, margin: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the coordinates of both axes of a grid around the three networks.

        Args:
            num_points: number of points along each axis.
            margin: extent beyond the networks, as a fraction of the longer side of their box.
        """
        sides = [(min(along), max(along)) for along in zip(*self.coordinates, strict=True)]
        extent = margin * max(high - low for low, high in sides)
        xs, ys = (
            torch.linspace(low - extent, high + extent, num_points, dtype=torch.float64).tolist()
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
    bound = [bind_params(model, each) for each in (a, b, c)]
    u_u = u_v = v_v = 0.0
    for name, _ in model.named_parameters():
        origin, *ends = (each[name].detach().double().cpu().flatten() for each in bound)
        u, v = (end - origin for end in ends)
        u_u, u_v, v_v = u_u + float(u @ u), u_v + float(u @ v), v_v + float(v @ v)
    for name, params in zip(networks, bound, strict=True):
        for tensor, _ in model.named_parameters():
            if not bool(torch.isfinite(params[tensor]).all()):
                raise ArgumentError(
                    f"tensor {tensor!r} of {name} contains NaN or inf; pass another network"
                )
    across = v_v - u_v * u_v / u_u if u_u else 0.0
    if not across > FLATTEST**2 * v_v:
        raise ArgumentError(
            f"{name_a}, {name_b} and {name_c} lie on one line, or two are equal; "
            "pass three networks that span a plane"
        )
    return Basis(((0.0, 0.0), (u_u**0.5, 0.0), (u_v / u_u**0.5, across**0.5)))


NUM_LEVELS = 12


def contour_levels(
    values: Float64[np.ndarray, "y x"], quantity: Quantity
) -> Float64[np.ndarray, " levels"]:
    """Return increasing levels from the minimum to the 90% quantile."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(np.quantile(finite, 0.9))
    span = high - low if high > low else max(abs(low), 1.0)
    steps = (
        np.concatenate([[0.0], np.geomspace(1e-3, 1.0, NUM_LEVELS - 1)])
        if quantity == "loss"
        else np.linspace(0, 1, NUM_LEVELS)
    )
    return low + span * steps


def color_norm(levels: Float64[np.ndarray, " levels"]) -> Any:
    """Return the matplotlib norm with one color between two levels."""
    from matplotlib.colors import BoundaryNorm

    return BoundaryNorm(levels, 256, extend="max")


def level_labels(levels: Float64[np.ndarray, " levels"], quantity: Quantity) -> list[str]:
    """Return labels with the fewest digits that keep the levels distinct."""
    forms = [f".{digits}g" if quantity == "loss" else f".{digits - 2}%" for digits in range(3, 9)]
    shown = ([f"{level:{form}}" for level in levels] for form in forms)
    return next((texts for texts in shown if len({*texts}) == len(texts)), list(map(str, levels)))


@dataclass(frozen=True)
class Plane(Result):
    """Losses and errors on a grid of the plane through three networks; see `measure_plane`.

    Coordinates are distances between parameters. The first network is at (0, 0), the second on the
    first axis, the third above it.

    Args:
        names: names of the three networks.
        coordinates: coordinates of the three networks.
        network_losses: mean loss of the three networks.
        network_errors: fraction of wrong answers of the three networks.
        xs: first coordinates of the grid, increasing.
        ys: second coordinates of the grid, increasing.
        losses: for each y the mean loss at every x.
        errors: for each y the fraction of wrong answers at every x; NaN without classes.
        normalization: as for `Curve`; of the grid, not of the three networks.
        num_reset: as for `Curve`.
    """

    names: tuple[str, str, str]
    coordinates: tuple[tuple[float, float], ...]
    network_losses: tuple[float, ...]
    network_errors: tuple[float, ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    errors: tuple[tuple[float, ...], ...]
    normalization: LineNormalization = "interpolated"
    num_reset: int = 0

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each network, named in `point`, and one for each grid point."""
        rows = [
            self._row(*network)
            for network in zip(
                self.names, self.coordinates, self.network_losses, self.network_errors, strict=True
            )
        ]
        for y, losses, errors in zip(self.ys, self.losses, self.errors, strict=True):
            for x, loss, error in zip(self.xs, losses, errors, strict=True):
                rows.append(self._row("", (x, y), loss, error))
        return rows

    def _row(
        self, name: str, coordinates: tuple[float, float], loss: float, error: float
    ) -> dict[str, Any]:
        return {
            "point": name,
            "x": coordinates[0],
            "y": coordinates[1],
            "loss": loss,
            "error": error,
            "normalization": self.normalization,
        }

    @public
    def plot(self, ax: Axes | None = None, *, quantity: Quantity = "loss") -> Axes:
        """Plot contours of the plane with the three networks.

        Levels of the loss are logarithmic above its minimum (Garipov et al. 2018), those of the
        error are linear. The last color covers all values above the highest level.

        Args:
            ax: axes to draw on; a new figure by default.
            quantity: "loss" or "error".

        Returns:
            The axes with the contours and a color scale.

        Raises:
            OneBasinError: the plane has no finite values of the quantity.
        """
        check_choice("quantity", quantity, Quantity)
        values = np.array(self.losses if quantity == "loss" else self.errors)
        if not np.isfinite(values).any():
            raise ArgumentError(f"the plane has no finite {quantity} to draw")
        ax = axes_for(ax)
        levels = contour_levels(values, quantity)
        # Draw non-finite values above the highest level.
        shown = np.where(np.isfinite(values), values, 2 * abs(levels[-1]) + 1)
        style: dict[str, Any] = {"levels": levels, "extend": "max"}
        filled = ax.contourf(
            self.xs, self.ys, shown, cmap="viridis_r", norm=color_norm(levels), **style
        )
        ax.contour(self.xs, self.ys, shown, levels, colors="white", linewidths=0.6, alpha=0.6)
        self._mark(ax)
        scale = ax.figure.colorbar(filled, ax=ax, label=quantity, ticks=levels)
        scale.ax.set_yticklabels(level_labels(levels, quantity))
        ax.set_aspect("equal")
        ax.grid(False)
        ax.set_xlabel("distance between parameters")
        ax.set_ylabel("distance across")
        return ax

    def _mark(self, ax: Axes) -> None:
        for name, (x, y) in zip(self.names, self.coordinates, strict=True):
            ax.plot([x], [y], "o", color=INK, markeredgecolor="white", markersize=8, zorder=4)
            ax.annotate(
                name,
                (x, y),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                fontweight="bold",
                color=INK,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75},
                zorder=5,
            )


@checks_arguments
def measure_plane(
    model: nn.Module,
    networks: Mapping[str, Mapping[str, Tensor]],
    evaluate: Evaluate,
    *,
    num_points: int = 25,
    margin: float = 0.25,
    normalization: LineNormalization = "interpolated",
    data: Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Plane:
    r"""Evaluate a model on the plane through three networks (Garipov et al. 2018).

    With \(u = \theta_B-\theta_A\) and \(v = \theta_C-\theta_A\) orthogonalized against \(u\), a
    point \((x, y)\) is \(\theta_A + x\,u/\lVert u\rVert + y\,v/\lVert v\rVert\). Distances count
    parameters only; buffers have the same weights. Beyond the networks, the variance of a
    normalization layer can become negative and the loss NaN; "reset" recomputes the statistics
    at every point instead.

    Args:
        model: the architecture; its own parameters are ignored.
        networks: parameters and buffers of A, B and C by name, in this order.
        evaluate: as for `interpolate`.
        num_points: number of grid points along each axis, at least 2.
        margin: extent of the grid beyond the networks, as a fraction of the longer side of their
            box.
        normalization: "interpolated" or "reset", as for `interpolate`. 'repair' needs a point
            between two networks.
        data: as for `interpolate`.
        progress: called with the number of points done and their total.

    Returns:
        The plane.

    Raises:
        OneBasinError: the number of networks is not three, they lie on one line, or they do not
            match the model or each other.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> at = lambda w, b: {"weight": Tensor([[w]]), "bias": Tensor([b])}
        >>> networks = {"A": at(0.0, 0.0), "B": at(3.0, 4.0), "C": at(0.0, 5.0)}
        >>> plane = measure_plane(model, networks, lambda m: 0.0, num_points=2)
        >>> plane.coordinates
        ((0.0, 0.0), (5.0, 0.0), (4.0, 3.0))
    """
    check_model(model)
    num_points = check_whole("num_points", num_points, least=2)
    check_amount("margin", margin)
    if len(networks) != 3:
        raise ArgumentError(f"{counted(len(networks), 'network')} given; pass three")
    check_choice("normalization", normalization, LineNormalization)
    if normalization in ("repair", "rescale", "refit"):
        raise ArgumentError(
            f"normalization {normalization!r} needs a point between two networks; "
            "use 'reset' on planes"
        )
    prepare, num_reset = preparation_for(model, normalization, data)
    basis = basis_of(model, networks)
    xs, ys = basis.grid(num_points, margin)
    points = [{i: 1.0} for i in range(3)] + [basis.weights_at(x, y) for y in ys for x in xs]
    corners = list(networks.values())
    evaluations = evaluate_points(
        model, corners, points, {"": evaluate}, prepare=prepare, progress=progress
    )
    values = [evaluation[""] for evaluation in evaluations]
    corner_values, grid = values[:3], values[3:]
    cuts = range(0, len(grid), num_points)
    first, second, third = networks
    return Plane(
        names=(first, second, third),
        coordinates=basis.coordinates,
        network_losses=tuple(value.loss for value in corner_values),
        network_errors=tuple(value.error for value in corner_values),
        xs=xs,
        ys=ys,
        losses=tuple(tuple(e.loss for e in grid[cut : cut + num_points]) for cut in cuts),
        errors=tuple(tuple(e.error for e in grid[cut : cut + num_points]) for cut in cuts),
        normalization=normalization,
        num_reset=num_reset,
    )
