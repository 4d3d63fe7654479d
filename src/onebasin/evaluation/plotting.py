"""Pictures: the one style of all figures, and their files.

Nothing here touches matplotlib's global state or its settings.
"""

from __future__ import annotations

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
    # Without a salt of its own every file would get new random names inside.
    "svg.hashsalt": "onebasin",
}


def save_figure(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure to a `.png`, `.svg` or `.pdf` file.

    Raises:
        OneBasinError: when the suffix is another, or the file cannot be written; nothing
            half-written is left.
    """
    check_picture(path)
    with atomic_path(path) as temporary:
        write_picture(figure, temporary, temporary.suffix.removeprefix("."))


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


def write_picture(figure: Figure, target: Any, form: str) -> None:
    """Write a figure to an open file or path.

    Args:
        figure: what to write.
        target: a path or a binary file.
        form: "png", "svg" or "pdf".
    """
    import matplotlib

    # The date would make every file differ from the last.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(target, format=form, dpi=200, metadata=metadata)
