"""Drawing: the forms in which the papers' figures come.

Colors, fonts and sizes are the report's, which calls a study's `figures` within its style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from onebasin_studies.runtime.statistics import Summary

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


def explain(ax: Axes, styles: Mapping[str, str]) -> None:
    """Add lines to a legend that say what a style means, whatever the color.

    Args:
        ax: that is to get a legend.
        styles: "-", "--", "-." or ":", by the words of the legend.
    """
    for words, style in styles.items():
        ax.plot([], [], linestyle=style, color="gray", label=words)


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
    """Draw means as a line, with a band for their intervals, or a bar where there is one.

    What studies measure is never below 0, so bands and bars end there.

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
    lows, highs = ([f(s) for _, s in sure] for f in (lambda s: max(0.0, s.low), lambda s: s.high))
    places = [place for place, _ in sure]
    color = line.get_color()
    if len(summaries) == 1 and sure:
        # A band over a single place has no width.
        (mean,) = (s.mean for s in summaries)
        reach = [[mean - lows[0]], [highs[0] - mean]]
        ax.errorbar(places, [mean], yerr=reach, fmt="none", ecolor=color, capsize=3)
    elif sure:
        ax.fill_between(places, lows, highs, color=color, alpha=0.18, linewidth=0)


def size_axis(ax: Axes, x: str, ticks: Sequence[Any]) -> None:
    """Give an axis the sizes that were measured, two to the power of equal steps.

    Args:
        ax: the axes.
        x: "width" or "depth".
        ticks: the sizes.
    """
    ax.set_xscale("log", base=2)
    places = sorted(set(ticks))
    step = max(1, -(-len(places) // 7))
    ax.set_xticks(places[::step], [f"{place:g}" for place in places[::step]])
    ax.minorticks_off()
    ax.set_xlabel(x)


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
