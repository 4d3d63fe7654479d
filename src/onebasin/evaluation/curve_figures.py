"""Figures of curves between two networks, before and after alignment.

The global state and settings of matplotlib are not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onebasin.evaluation.curves import Curve, Curves, Quantity
from onebasin.evaluation.plotting import SETTINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAIVE = "#d1495b"
ALIGNED = "#00798c"


@dataclass(frozen=True)
class PlottedCurve:
    """One curve of a figure.

    Args:
        curve: the curve.
        label: label in the legend.
        is_aligned: whether B was aligned, which sets the color.
        is_test: whether it was measured on test data, which is dashed.
    """

    curve: Curve
    label: str
    is_aligned: bool = False
    is_test: bool = False


def curve_figure(
    lines: Sequence[PlottedCurve], quantities: Sequence[Quantity] = ("loss", "error")
) -> Figure:
    """Plot curves in one panel for each quantity.

    Args:
        lines: the curves, with the same endpoints.
        quantities: "loss", "error" or both.

    Returns:
        A new figure that is not registered with pyplot.
    """
    import matplotlib
    from matplotlib.figure import Figure

    width = 4.6 * len(quantities)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, 3.5), layout="constrained")
        panels = figure.subplots(1, len(quantities), squeeze=False)[0]
        for ax, quantity in zip(panels, quantities, strict=True):
            _draw(ax, lines, quantity)
        # One legend suffices: all panels have the same lines.
        panels[0].legend(frameon=False, fontsize=9, handlelength=1.8)
    return figure


def _draw(ax: Axes, lines: Sequence[PlottedCurve], quantity: Quantity) -> None:
    for line in lines:
        style: dict[str, Any] = {
            "color": ALIGNED if line.is_aligned else NAIVE,
            "label": line.label,
            "zorder": 3,
        }
        if line.is_test:
            style |= {"linestyle": (0, (3, 2)), "linewidth": 1.5, "alpha": 0.75, "zorder": 2}
        line.curve.plot(ax, quantity=quantity, **style)
    ax.set_title("Loss" if quantity == "loss" else "Error")
    ax.set_ylabel("")
    ax.set_xlabel("")
    ax.set_xticks([0, 0.5, 1], ["network B", "halfway", "network A"])
    ax.get_xticklabels()[0].set_horizontalalignment("left")
    ax.get_xticklabels()[-1].set_horizontalalignment("right")
    ax.set_xlim(-0.02, 1.02)
    # Slightly below 0, so a line at 0 is not clipped.
    ax.set_ylim(bottom=-0.015 * ax.get_ylim()[1])
    ax.spines["left"].set_visible(False)
    if quantity == "error":
        ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")


def plotted_curves(curves: Curves, *, names_split: bool = True) -> list[PlottedCurve]:
    """Return all curves with their labels and styles.

    Args:
        curves: the curves.
        names_split: whether the labels have the split.
    """
    return [
        PlottedCurve(
            curve,
            f"{state}, {split}" if names_split else state,
            state == "aligned",
            split == "test",
        )
        for state, splits in curves.items()
        for split, curve in splits.items()
    ]
