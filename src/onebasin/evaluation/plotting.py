"""Common style of all figures, and their files.

The global state and settings of matplotlib are not changed.
"""

from __future__ import annotations

import base64
import io
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebasin._files import atomic_path
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1d2b32"
SOFT_INK = "#64747c"
GRID = "#e4eaec"
PICTURES = (".png", ".svg", ".pdf")
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
    # A fixed salt makes the ids in the file reproducible.
    "svg.hashsalt": "onebasin",
}


def save_figure(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure to a `.png`, `.svg` or `.pdf` file.

    Raises:
        OneBasinError: the suffix is unknown, or the file cannot be written. A partial file is
            never left.
    """
    check_picture(path)
    with atomic_path(path) as temporary:
        write_picture(figure, temporary, temporary.suffix.removeprefix("."))


def check_picture(path: str | PathLike[str]) -> None:
    """Check the suffix of a figure file before a long computation.

    Raises:
        OneBasinError: the suffix is not `.png`, `.svg` or `.pdf`.
    """
    suffix = Path(path).suffix
    if suffix not in PICTURES:
        raise OneBasinError(
            f"{path}: unknown picture format {suffix!r}; expected {', '.join(PICTURES)}"
        )


def write_picture(figure: Figure, target: Any, form: str) -> None:
    """Write a figure to an open file or path.

    Args:
        figure: the figure.
        target: a path or a binary file.
        form: "png", "svg" or "pdf".
    """
    import matplotlib

    # Leave out the date to make the files reproducible.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(target, format=form, dpi=200, metadata=metadata)


def svg_source(figure: Figure) -> str:
    """Return a figure as the `src` of an `<img>`, embedded in the page."""
    buffer = io.BytesIO()
    write_picture(figure, buffer, "svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
