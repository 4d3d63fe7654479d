"""Figures: curves drawn in one style, as files or as text for a page.

Nothing here touches matplotlib's global state or its settings.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onebasin.evaluation.curves import Curve, Quantity
from onebasin.evaluation.plotting import (
    GRID,
    INK,
    PICTURES,
    SETTINGS,
    SOFT_INK,
    check_picture,
    save_figure,
    write_picture,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ALIGNED",
    "GRID",
    "INK",
    "NAIVE",
    "PICTURES",
    "SETTINGS",
    "SOFT_INK",
    "Line",
    "check_picture",
    "curve_figure",
    "save_figure",
    "svg_source",
]

NAIVE = "#d1495b"
ALIGNED = "#00798c"


@dataclass(frozen=True)
class Line:
    """One curve of a figure.

    Args:
        curve: what to draw.
        label: what it is called in the figure.
        is_aligned: towards the aligned B; decides the color.
        is_test: measured on test data; drawn dashed.
    """

    curve: Curve
    label: str
    is_aligned: bool = False
    is_test: bool = False


def curve_figure(
    lines: Sequence[Line], quantities: Sequence[Quantity] = ("loss", "error")
) -> Figure:
    """Draw curves side by side, one panel for each quantity.

    Args:
        lines: the curves, with the same ends.
        quantities: "loss", "error" or both.

    Returns:
        A figure of its own, unknown to pyplot.
    """
    import matplotlib
    from matplotlib.figure import Figure

    width = 4.6 * len(quantities)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, 3.5), layout="constrained")
        panels = figure.subplots(1, len(quantities), squeeze=False)[0]
        for ax, quantity in zip(panels, quantities, strict=True):
            _draw(ax, lines, quantity)
        # All panels show the same lines.
        panels[0].legend(frameon=False, fontsize=9, handlelength=1.8)
    return figure


def _draw(ax: Axes, lines: Sequence[Line], quantity: Quantity) -> None:
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
    # A little below 0, or half of a line at 0 would be cut off.
    ax.set_ylim(bottom=-0.015 * ax.get_ylim()[1])
    ax.spines["left"].set_visible(False)
    if quantity == "error":
        ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")


def svg_source(figure: Figure) -> str:
    """Return a figure as the `src` of an `<img>`, so that a page needs no other file."""
    buffer = io.BytesIO()
    write_picture(figure, buffer, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
