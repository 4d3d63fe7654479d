"""Drawing: the forms in which the papers' figures come.

Colours, fonts and sizes are the report's, which calls a study's `figures` within its style.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from onebasin.studies.statistics import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.6, 3.5


def panels(
    num: int = 1, *, num_columns: int = 1, height: float | int = HEIGHT
) -> tuple[Figure, list[Axes]]:
    """Return a new figure with panels; one column stays readable on a phone.

    Args:
        num: panels.
        num_columns: panels beside each other.
        height: of each, in inches; all are 4.6 inches wide.
    """
    from matplotlib.figure import Figure

    num_rows = -(-num // num_columns)
    figure = Figure(figsize=(WIDTH * num_columns, height * num_rows), layout="constrained")
    engine: Any = figure.get_layout_engine()
    # Else the title of a panel stands on the numbers of the one above.
    engine.set(h_pad=0.1)
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for ax in axes[num:]:
        ax.remove()
    return figure, list(axes[:num])


def legend_below(ax: Axes, title: str = "") -> None:
    """Explain the lines of an axes below its figure, where it hides none of them.

    Args:
        ax: whose lines have labels.
        title: of the legend.
    """
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        options: dict[str, Any] = {"loc": "outside lower center", "ncols": 2, "frameon": False}
        ax.figure.legend(handles, labels, title=title or None, **options)


def draw_means(
    ax: Axes, summaries: Sequence[Summary], x: str, *, label: str = "", **style: Any
) -> None:
    """Draw means as a line, with a band for their intervals.

    Args:
        ax: where to draw.
        summaries: for each x one.
        x: the column that is drawn to the right.
        label: in the legend.
        **style: of the line.
    """
    places = [summary.group[x] for summary in summaries]
    (line,) = ax.plot(places, [s.mean for s in summaries], marker="o", label=label, **style)
    sure = [(p, s) for p, s in zip(places, summaries, strict=True) if isfinite(s.low)]
    if sure:
        ax.fill_between(
            [place for place, _ in sure],
            [s.low for _, s in sure],
            [s.high for _, s in sure],
            color=line.get_color(),
            alpha=0.18,
            linewidth=0,
        )


def told(summaries: Sequence[Summary], x: str, *, form: str = ".3g") -> str:
    """Return means in words, for the alternative text of a figure: "0.31 at width 4, ...".

    Args:
        summaries: for each x one.
        x: the column that tells them apart.
        form: of the numbers.
    """
    places = [s.group[x] for s in summaries]
    names = [f"{place:g}" if isinstance(place, float) else str(place) for place in places]
    return ", ".join(
        f"{s.mean:{form}} at {x} {name}" for s, name in zip(summaries, names, strict=True)
    )
