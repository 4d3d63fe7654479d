"""Losses on the plane through three networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from onebasin._checks import check_model, checks_arguments
from onebasin.errors import OneBasinError, check_amount, check_choice, check_whole
from onebasin.evaluation.contours import color_norm, contour_levels, level_labels
from onebasin.evaluation.coordinates import basis_of
from onebasin.evaluation.curves import LineNormalization, Quantity
from onebasin.evaluation.evaluation import Evaluate
from onebasin.evaluation.normalization import preparation_for
from onebasin.evaluation.plotting import INK
from onebasin.evaluation.points import evaluate_points
from onebasin.evaluation.results import Result, axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Plane(Result):
    """Losses and errors on a grid of the plane through three networks; see `measure_plane`.

    Coordinates are distances between parameters. The first network is at (0, 0), the second on the
    first axis, the third above it.

    Args:
        names: names of the three networks.
        places: coordinates of the three networks.
        found: loss and error of the three networks.
        xs: first coordinates of the grid, increasing.
        ys: second coordinates of the grid, increasing.
        losses: for each y the mean loss at every x.
        errors: for each y the fraction of wrong answers at every x; NaN without classes.
        normalization: as for `Curve`; of the grid, not of the three networks.
        num_reset: as for `Curve`.
    """

    names: tuple[str, str, str]
    places: tuple[tuple[float, float], ...]
    found: tuple[tuple[float, float], ...]
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    errors: tuple[tuple[float, ...], ...]
    normalization: LineNormalization = "interpolated"
    num_reset: int = 0

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each network, named in `point`, and one for each grid point."""
        rows = [
            self._row(name, place, values)
            for name, place, values in zip(self.names, self.places, self.found, strict=True)
        ]
        for y, losses, errors in zip(self.ys, self.losses, self.errors, strict=True):
            for x, loss, error in zip(self.xs, losses, errors, strict=True):
                rows.append(self._row("", (x, y), (loss, error)))
        return rows

    def _row(
        self, name: str, place: tuple[float, float], values: tuple[float, float]
    ) -> dict[str, Any]:
        return {
            "point": name,
            "x": place[0],
            "y": place[1],
            "loss": values[0],
            "error": values[1],
            "normalization": self.normalization,
        }

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
        check_choice("plot", "quantity", quantity, Quantity)
        values = np.array(self.losses if quantity == "loss" else self.errors)
        if not np.isfinite(values).any():
            raise OneBasinError(f"plot: the plane has no finite {quantity} to draw")
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
        for name, (x, y) in zip(self.names, self.places, strict=True):
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
        >>> plane.places
        ((0.0, 0.0), (5.0, 0.0), (4.0, 3.0))
    """
    check_model("measure_plane", model)
    num_points = check_whole("measure_plane", "num_points", num_points, least=2)
    check_amount("measure_plane", "margin", margin)
    if len(networks) != 3:
        raise OneBasinError(f"measure_plane: {len(networks)} networks given; pass three")
    check_choice("measure_plane", "normalization", normalization, LineNormalization)
    if normalization in ("repair", "rescale"):
        raise OneBasinError(
            f"measure_plane: normalization {normalization!r} needs a point between two networks; "
            "use 'reset' on planes"
        )
    prepare, num_reset = preparation_for("measure_plane", model, normalization, data)
    basis = basis_of(model, networks)
    xs, ys = basis.grid(num_points, margin)
    points = [{i: 1.0} for i in range(3)] + [basis.weights_at(x, y) for y in ys for x in xs]
    corners = list(networks.values())
    every = evaluate_points(
        model, corners, points, {"": evaluate}, prepare=prepare, progress=progress
    )
    corner_values, grid = [each[""] for each in every[:3]], [each[""] for each in every[3:]]
    cuts = range(0, len(grid), num_points)
    first, second, third = networks
    return Plane(
        names=(first, second, third),
        places=basis.places,
        found=tuple((each.loss, each.error) for each in corner_values),
        xs=xs,
        ys=ys,
        losses=tuple(tuple(e.loss for e in grid[cut : cut + num_points]) for cut in cuts),
        errors=tuple(tuple(e.error for e in grid[cut : cut + num_points]) for cut in cuts),
        normalization=normalization,
        num_reset=num_reset,
    )
