"""Barriers between all pairs of a set of networks, direct and indirect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from onebasin.evaluation.curves import BarrierBaseline, Curve, Quantity
from onebasin.evaluation.results import Result, axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class PairBarriers(Result):
    """The barriers between all pairs of a set of networks; see `measure_pairs`.

    Args:
        names: names of the networks.
        curves: for each pair `(i, j)` with `i < j` the curve from j at alpha 0 to i at alpha 1.
    """

    names: tuple[str, ...]
    curves: Mapping[tuple[int, int], Curve]

    def matrix(
        self, quantity: Quantity = "loss", baseline: BarrierBaseline = "linear"
    ) -> np.ndarray:
        """Return the barriers as a symmetric matrix, 0 on its diagonal.

        Args:
            quantity: as for `Curve.barrier`.
            baseline: as for `Curve.barrier`.

        Returns:
            float64 `(n, n)`.

        Raises:
            OneBasinError: as for `Curve.barrier`.
        """
        matrix = np.zeros((len(self.names), len(self.names)))
        for (i, j), curve in self.curves.items():
            matrix[i, j] = matrix[j, i] = curve.barrier(quantity, baseline)
        return matrix

    def indirect(
        self, quantity: Quantity = "loss", baseline: BarrierBaseline = "linear"
    ) -> np.ndarray:
        r"""Return the barriers of the best path through a third network.

        \(\min_B \max(\mathrm{barrier}(A, B), \mathrm{barrier}(B, C))\) over all B other than A
        and C (Entezari et al. 2022, Figure 18). Paths with a NaN barrier are ignored.

        Args:
            quantity: as for `Curve.barrier`.
            baseline: as for `Curve.barrier`.

        Returns:
            float64 `(n, n)`, 0 on its diagonal; NaN elsewhere for two networks.
        """
        direct = self.matrix(quantity, baseline)
        num = len(direct)
        # Exclude the endpoints as third networks.
        around = np.where(np.eye(num, dtype=bool) | np.isnan(direct), np.inf, direct)
        matrix = np.array([np.maximum(around, row).min(1) for row in around])
        if num < 3:
            matrix[:] = np.nan
        np.fill_diagonal(matrix, 0)
        return matrix

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The measured quantities: losses, and errors if the data have classes."""
        has_errors = not all(isnan(e) for curve in self.curves.values() for e in curve.errors)
        return ("loss", "error") if has_errors else ("loss",)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each pair, quantity and baseline, with both kinds of barrier."""
        rows = []
        for quantity in self.quantities:
            for baseline in get_args(BarrierBaseline):
                direct, around = self.matrix(quantity, baseline), self.indirect(quantity, baseline)
                rows += [
                    {
                        "a": self.names[i],
                        "b": self.names[j],
                        "quantity": quantity,
                        "baseline": baseline,
                        "barrier": float(direct[i, j]),
                        "indirect": float(around[i, j]),
                        "normalization": curve.normalization,
                    }
                    for (i, j), curve in self.curves.items()
                ]
        return rows

    def plot(
        self,
        ax: Axes | None = None,
        *,
        quantity: Quantity = "loss",
        baseline: BarrierBaseline = "linear",
        highest: float | None = None,
    ) -> Axes:
        """Plot the matrix.

        Args:
            ax: axes to draw on; a new figure by default.
            quantity: as for `Curve.barrier`.
            baseline: as for `Curve.barrier`.
            highest: maximum of the color scale, to compare matrices; by default that of the matrix.

        Returns:
            The axes with the matrix and a color scale.
        """
        ax = axes_for(ax)
        image = ax.imshow(self.matrix(quantity, baseline), cmap="viridis", vmin=0, vmax=highest)
        ax.grid(False)
        if len(self.names) <= 20:
            is_long = max(map(len, self.names)) > 3
            ax.set_xticks(range(len(self.names)), self.names, rotation=90 if is_long else 0)
            ax.set_yticks(range(len(self.names)), self.names)
        ax.set_title(f"Barriers, {quantity}")
        ax.figure.colorbar(image, ax=ax, label=f"{quantity} barrier")
        return ax

    def plot_distribution(
        self,
        ax: Axes | None = None,
        *,
        quantity: Quantity = "loss",
        baseline: BarrierBaseline = "linear",
    ) -> Axes:
        """Plot histograms of the direct and indirect barriers of all pairs.

        Args:
            ax: axes to draw on; a new figure by default.
            quantity: as for `Curve.barrier`.
            baseline: as for `Curve.barrier`.

        Returns:
            The axes with the histograms.
        """
        ax = axes_for(ax)
        upper = np.triu_indices(len(self.names), 1)
        kinds = {"direct": self.matrix(quantity, baseline)[upper]}
        if len(self.names) > 2:
            kinds["around a third"] = self.indirect(quantity, baseline)[upper]
        finite = {name: values[np.isfinite(values)] for name, values in kinds.items()}
        highest = max((values.max() for values in finite.values() if values.size), default=0.0)
        edges = np.linspace(0, highest or 1.0, 31).tolist()
        for name, values in finite.items():
            ax.hist(values, edges, alpha=0.6, label=name)
        ax.set_xlabel(f"{quantity} barrier")
        ax.set_ylabel("pairs")
        ax.legend(frameon=False)
        return ax
