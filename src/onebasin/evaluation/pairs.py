"""Curves and barriers of all pairs of a set of networks; each network is evaluated once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isnan
from typing import TYPE_CHECKING, Any, get_args, overload

import numpy as np
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin._text import counted
from onebasin.errors import ArgumentError
from onebasin.evaluation._points import Evaluations, evaluate_points
from onebasin.evaluation.curves import BarrierBaseline, Curve, LineNormalization, Quantity
from onebasin.evaluation.evaluator import Evaluate
from onebasin.evaluation.interpolation import evaluates_by_name, line_of
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
        others = np.where(np.eye(num, dtype=bool) | np.isnan(direct), np.inf, direct)
        matrix = np.array([np.maximum(others, row).min(1) for row in others])
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
                direct, others = self.matrix(quantity, baseline), self.indirect(quantity, baseline)
                rows += [
                    {
                        "a": self.names[i],
                        "b": self.names[j],
                        "quantity": quantity,
                        "baseline": baseline,
                        "barrier": float(direct[i, j]),
                        "indirect": float(others[i, j]),
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
            kinds["indirect"] = self.indirect(quantity, baseline)[upper]
        finite = {name: values[np.isfinite(values)] for name, values in kinds.items()}
        highest = max((values.max() for values in finite.values() if values.size), default=0.0)
        edges = np.linspace(0, highest or 1.0, 31).tolist()
        for name, values in finite.items():
            ax.hist(values, edges, alpha=0.6, label=name)
        ax.set_xlabel(f"{quantity} barrier")
        ax.set_ylabel("pairs")
        ax.legend(frameon=False)
        return ax


# For a pair (i, j), the parameters of network j aligned to network i.
Move = Callable[[int, int], Mapping[str, Tensor]]


@overload
def measure_pairs(
    model: nn.Module,
    networks: Sequence[Mapping[str, Tensor]],
    evaluate: Evaluate,
    *,
    names: Sequence[str] | None = ...,
    move: Move | None = ...,
    num_points: int = ...,
    normalization: LineNormalization = ...,
    data: Iterable[Any] | None = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> PairBarriers: ...
@overload
def measure_pairs(
    model: nn.Module,
    networks: Sequence[Mapping[str, Tensor]],
    evaluate: Mapping[str, Evaluate],
    *,
    names: Sequence[str] | None = ...,
    move: Move | None = ...,
    num_points: int = ...,
    normalization: LineNormalization = ...,
    data: Iterable[Any] | None = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> dict[str, PairBarriers]: ...
@checks_arguments
def measure_pairs(
    model: nn.Module,
    networks: Sequence[Mapping[str, Tensor]],
    evaluate: Evaluate | Mapping[str, Evaluate],
    *,
    names: Sequence[str] | None = None,
    move: Move | None = None,
    num_points: int = 25,
    normalization: LineNormalization = "interpolated",
    data: Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PairBarriers | dict[str, PairBarriers]:
    """Measure the barriers between all pairs of a set of networks.

    Args:
        model: the architecture; its own parameters are ignored.
        networks: parameters and buffers of two or more networks.
        evaluate: one evaluation function or a mapping of them, as for `interpolate`.
        names: names of the networks; their numbers by default.
        move: function from a pair `(i, j)` to the parameters of j aligned to i. They must
            compute the same function, since network j is evaluated once. By default networks
            are not aligned.
        num_points: number of points of each curve, both endpoints included; 3 for the midpoints.
        normalization: as for `interpolate`.
        data: as for `interpolate`.
        progress: called with the number of pairs done and their total.

    Returns:
        The barriers; barriers for each name if `evaluate` is a mapping.

    Raises:
        OneBasinError: there are fewer than two networks, or as for `interpolate`.

    Example:
        >>> networks = [{"weight": Tensor([[value]])} for value in (-1.0, 0.0, 1.0)]
        >>> model = nn.Linear(1, 1, bias=False)
        >>> squares = lambda m: -m(Tensor([[1.0]])).item() ** 2
        >>> measure_pairs(model, networks, squares, num_points=3).matrix()[0].tolist()
        [0.0, 0.25, 1.0]
    """
    names = _names(networks, names)
    line = line_of(model, num_points, normalization, data)
    evaluates = evaluates_by_name(evaluate)
    ends = evaluate_points(model, networks, [{i: 1.0} for i in range(len(networks))], evaluates)
    pairs = list(combinations(range(len(networks)), 2))
    evaluations: dict[tuple[int, int], list[Evaluations]] = {}
    for i, j in pairs:
        params_j = networks[j] if move is None else move(i, j)
        inner = line.evaluate(networks[i], params_j, evaluates, inner=True)
        evaluations[i, j] = [ends[j], *inner, ends[i]]
        if progress is not None:
            progress(len(evaluations), len(pairs))
    barriers = {
        name: PairBarriers(
            names,
            {
                pair: line.curve([point[name] for point in points])
                for pair, points in evaluations.items()
            },
        )
        for name in evaluates
    }
    return barriers if isinstance(evaluate, Mapping) else barriers[""]


def _names(
    networks: Sequence[Mapping[str, Tensor]], names: Sequence[str] | None
) -> tuple[str, ...]:
    if len(networks) < 2:
        raise ArgumentError(f"{counted(len(networks), 'network')} given; pass at least two")
    shown = tuple(map(str, range(len(networks)))) if names is None else tuple(names)
    twice = [name for name in shown if shown.count(name) > 1]
    if len(shown) != len(networks) or twice:
        problem = f", {twice[0]!r} more than once," if twice else ""
        raise ArgumentError(
            f"{len(shown)} names{problem} for {len(networks)} networks; pass one "
            "unique name for each"
        )
    return shown
