"""Learning curves of many networks in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from onebasin.errors import OneBasinError
from onebasin.evaluation.curves import ALIGNED, NAIVE, SETTINGS
from onebasin_studies.training.trained import Metric, TrainedNetwork

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS: tuple[Metric, ...] = ("loss", "error")


def has_curves(networks: Sequence[TrainedNetwork]) -> bool:
    """Return whether any epoch has a finite loss.

    Args:
        networks: the result of `onebasin_studies.training.train`.
    """
    return any(isfinite(loss) for network in networks for loss in network.losses)


def learning_curves(networks: Sequence[TrainedNetwork]) -> Figure:
    """Return a figure of learning curves: training solid, test dashed.

    Args:
        networks: the result of `onebasin_studies.training.train`.

    Returns:
        A figure that is not registered with pyplot, with one panel for the loss and one for the
        error.

    Raises:
        OneBasinError: if no epoch has a finite loss; see `has_curves`.
    """
    if not has_curves(networks):
        raise OneBasinError(
            "learning_curves: no network has an epoch with a finite loss; train for some, at a "
            "lower learning rate"
        )
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.6 * len(METRICS), 3.5), layout="constrained")
        panels = figure.subplots(1, len(METRICS), squeeze=False)[0]
        for ax, metric in zip(panels, METRICS, strict=True):
            _draw(ax, networks, metric)
    return figure


def _draw(ax: Axes, networks: Sequence[TrainedNetwork], metric: Metric) -> None:
    # Transparency keeps many overlapping lines readable.
    opacity = max(0.15, min(1.0, 4 / max(1, len(networks))))
    style: dict[str, Any] = {"linewidth": 1.4, "alpha": opacity}
    kinds = (("", "training", ALIGNED), ("test_", "test", NAIVE))
    for prefix, label, color in kinds:
        is_named = False
        for network in networks:
            points = _points(network, f"{prefix}{metric}")
            if not points:
                continue
            epochs, values = zip(*points, strict=True)
            mark = {"marker": "o", "markersize": 3} if len(points) == 1 else {}
            ax.plot(epochs, values, color=color, label=None if is_named else label, **style, **mark)
            is_named = True
    ax.set_title("Loss" if metric == "loss" else "Error")
    ax.set_xlabel("epoch")
    ax.spines["left"].set_visible(False)
    _scale(ax, metric, networks)
    if ax.lines:
        legend = ax.legend(frameon=False, fontsize=9, handlelength=1.8)
        for line in legend.get_lines():
            line.set_alpha(1)


def _points(network: TrainedNetwork, name: str) -> list[tuple[int, float]]:
    values = [(row.epoch, getattr(row, name)) for row in network.history]
    return [(epoch, value) for epoch, value in values if value is not None]


def _scale(ax: Axes, metric: Metric, networks: Sequence[TrainedNetwork]) -> None:
    """Set a logarithmic scale for losses, and a percent scale from 0 for errors."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if metric == "error":
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    elif any(loss > 0 for network in networks for loss in network.losses):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
