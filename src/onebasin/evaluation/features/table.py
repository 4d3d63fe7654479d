"""Table of measurements at the layers of a network, as rows and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebasin.errors import OneBasinError
from onebasin.evaluation.plotting import SETTINGS, write_picture
from onebasin.evaluation.results import Result, axes_for, plain_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class FeatureRow:
    """One number of one layer.

    Args:
        layer: name of the layer.
        alpha: weight of A in the network on the path; None if the measure has none.
        measure: name of the measure.
        mean: mean over the examples (or units).
        sd: standard deviation over them; NaN for a number of the whole layer.
        n: number of examples or units.
    """

    layer: str
    alpha: float | None
    measure: str
    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class FeatureTable(Result):
    """Numbers of layers, in the order of the forward pass.

    Args:
        records: the numbers.
        normalization: source of the statistics between the endpoints; see `measure_llfc`.
    """

    records: tuple[FeatureRow, ...]
    normalization: str = "interpolated"

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, in the order of the forward pass."""
        return tuple(dict.fromkeys(record.layer for record in self.records))

    @property
    def alphas(self) -> tuple[float, ...]:
        """The measured weights of A, in increasing order."""
        return tuple(sorted({r.alpha for r in self.records if r.alpha is not None}))

    @property
    def middle(self) -> float | None:
        """The measured weight of A closest to a half; None without any."""
        return min(self.alphas, key=lambda alpha: abs(alpha - 0.5), default=None)

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures."""
        return tuple(dict.fromkeys(record.measure for record in self.records))

    def at(self, layer: str, measure: str, alpha: float | None = None) -> FeatureRow:
        """Return one row.

        Raises:
            OneBasinError: the table has no such row; the message lists its rows.
        """
        for record in self.records:
            if (record.layer, record.measure, record.alpha) == (layer, measure, alpha):
                return record
        raise OneBasinError(
            f"features: the table has no {measure!r} at layer {layer!r} and alpha {alpha}; "
            f"measures are {', '.join(self.measures)}; alphas {self.alphas}; "
            f"layers {', '.join(self.layers)}"
        )

    def means(self, measure: str, alpha: float | None = None) -> dict[str, float]:
        """Return a measure's means by layer, for the layers that have it."""
        return {
            record.layer: record.mean
            for record in self.records
            if record.measure == measure and record.alpha == alpha
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each number: layer, alpha, measure, mean, sd, n, normalization."""
        return [{**asdict(r), "normalization": self.normalization} for r in self.records]

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain JSON values."""
        return {"normalization": self.normalization, "rows": plain_rows(map(asdict, self.records))}

    def _draw(self, path: Path) -> None:
        """Write the plot, with a width for all layers."""
        import matplotlib
        from matplotlib.figure import Figure

        with matplotlib.rc_context(SETTINGS):
            width = max(5.2, 1.6 + 0.3 * len(self.layers))
            figure = Figure(figsize=(width, 4.6), layout="constrained")
            self.plot(figure.subplots())
        write_picture(figure, path, path.suffix.removeprefix("."))


@dataclass(frozen=True)
class LayerTable(FeatureTable):
    """Numbers of layers that are plotted over the layers."""

    @property
    def axis_label(self) -> str:
        """Names of the plotted measures."""
        return ", ".join(self.measures)

    def series(self, alpha: float | None) -> dict[str, tuple[str, float | None]]:
        """Return the plotted measures: measure and alpha by label.

        Args:
            alpha: weight of A; subclasses use it for measures that depend on it.
        """
        return {measure: (measure, None) for measure in self.measures}

    def plot(self, ax: Axes | None = None, *, alpha: float | None = None, **style: Any) -> Axes:
        """Plot the measures over the layers, with a band of one standard deviation.

        Args:
            ax: axes to draw on; a new figure by default.
            alpha: weight of A; by default the `middle` one.
            **style: arguments of `Axes.plot`.

        Returns:
            The axes.
        """
        ax = axes_for(ax)
        for label, which in self.series(self.middle if alpha is None else alpha).items():
            self._line(ax, which, {"marker": "o", "markersize": 3, "label": label, **style})
        places = range(len(self.layers))
        ax.set_xticks(places, list(self.layers), rotation=60, ha="right", fontsize="small")
        ax.set_ylabel(self.axis_label)
        ax.legend(frameon=False)
        return ax

    def _line(self, ax: Axes, which: tuple[str, float | None], style: Mapping[str, Any]) -> None:
        places = {layer: i for i, layer in enumerate(self.layers)}
        rows = [r for r in self.records if (r.measure, r.alpha) == which]
        at, means = [places[r.layer] for r in rows], [r.mean for r in rows]
        (line,) = ax.plot(at, means, **style)
        if any(isnan(r.sd) for r in rows):
            return
        low, high = [r.mean - r.sd for r in rows], [r.mean + r.sd for r in rows]
        ax.fill_between(at, low, high, alpha=0.12, color=line.get_color(), linewidth=0)
