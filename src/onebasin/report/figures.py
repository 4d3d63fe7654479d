"""Figures: curves drawn in one style, as files or as text for a page.

Nothing here touches matplotlib's global state or its settings.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebasin.checkpoints.atomic import atomic_path
from onebasin.errors import OneBasinError
from onebasin.measuring.curves import Curve, Quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1d2b32"
SOFT_INK = "#64747c"
GRID = "#e4eaec"
PICTURES = (".png", ".svg", ".pdf")
NAIVE = "#d1495b"
ALIGNED = "#00798c"
SETTINGS: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT_INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": SOFT_INK,
    "ytick.color": SOFT_INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": SOFT_INK,
    "ytick.major.size": 0,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
    "savefig.facecolor": "white",
    # Without a salt of its own every file would get new random names inside.
    "svg.hashsalt": "onebasin",
}


@dataclass(frozen=True)
class Line:
    """One curve of a figure.

    Args:
        curve: what to draw.
        label: what it is called in the figure.
        is_aligned: towards the aligned B; decides the colour.
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
    ax.legend(frameon=False, fontsize=9, handlelength=1.8)


def save_figure(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure to a `.png`, `.svg` or `.pdf` file.

    Raises:
        OneBasinError: when the suffix is another, or the file cannot be written; nothing
            half-written is left.
    """
    check_picture(path)
    with atomic_path(path) as temporary:
        _save(figure, temporary, temporary.suffix.removeprefix("."))


def check_picture(path: str | PathLike[str]) -> None:
    """Check, before long work, that a path names a kind of picture.

    Raises:
        OneBasinError: when its suffix is none of `.png`, `.svg` and `.pdf`.
    """
    suffix = Path(path).suffix
    if suffix not in PICTURES:
        raise OneBasinError(
            f"{path}: unknown kind of picture {suffix!r}; expected {', '.join(PICTURES)}"
        )


def svg_source(figure: Figure) -> str:
    """Return a figure as the `src` of an `<img>`, so that a page needs no other file."""
    buffer = io.BytesIO()
    _save(figure, buffer, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _save(figure: Figure, target: Any, form: str) -> None:
    import matplotlib

    # The date would make every file differ from the last.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(target, format=form, dpi=200, metadata=metadata)
