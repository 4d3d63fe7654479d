"""Figures in the style of the papers.

Colors and fonts are those of the report, which calls `figures` of a study within its style.
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
    """Return a new figure with panels; a single column stays readable on a phone.

    Args:
        num: number of panels.
        num_columns: number of panels per row.
        height: height of each panel in inches; the width is 4.6 inches.
    """
    from matplotlib.figure import Figure

    num_rows = -(-num // num_columns)
    figure = Figure(figsize=(WIDTH * num_columns, height * num_rows), layout="constrained")
    engine: Any = figure.get_layout_engine()
    # Without padding a panel title overlaps the tick labels above it.
    engine.set(h_pad=0.1)
    axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for ax in axes[num:]:
        ax.remove()
    return figure, list(axes[:num])


def explain(ax: Axes, styles: Mapping[str, str]) -> None:
    """Add legend entries that explain line styles, independent of the color.

    Args:
        ax: the axes, before its legend is created.
        styles: line style ("-", "--", "-." or ":") by legend text.
    """
    for words, style in styles.items():
        ax.plot([], [], linestyle=style, color="gray", label=words)


def legend_below(ax: Axes, title: str = "") -> None:
    """Put the legend below the figure, where it covers no line.

    Args:
        ax: axes with labeled lines.
        title: title of the legend.
    """
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        options: dict[str, Any] = {"loc": "outside lower center", "ncols": 2, "frameon": False}
        ax.figure.legend(handles, labels, title=title or None, **options)


def draw_means(
    ax: Axes, summaries: Sequence[Summary], x: str, *, label: str = "", **style: Any
) -> None:
    """Plot means as a line with a band for their intervals, or one mean with an error bar.

    All quantities of studies are nonnegative, so bands and bars end at 0.

    Args:
        ax: target axes.
        summaries: one summary per x.
        x: column of the horizontal axis.
        label: text of the legend.
        **style: line properties.
    """
    positions = [summary.group[x] for summary in summaries]
    (line,) = ax.plot(positions, [s.mean for s in summaries], marker="o", label=label, **style)
    sure = [(p, s) for p, s in zip(positions, summaries, strict=True) if isfinite(s.low)]
    lows, highs = ([f(s) for _, s in sure] for f in (lambda s: max(0.0, s.low), lambda s: s.high))
    positions = [position for position, _ in sure]
    color = line.get_color()
    if len(summaries) == 1 and sure:
        # A band needs at least two points.
        (mean,) = (s.mean for s in summaries)
        reach = [[mean - lows[0]], [highs[0] - mean]]
        ax.errorbar(positions, [mean], yerr=reach, fmt="none", ecolor=color, capsize=3)
    elif sure:
        ax.fill_between(positions, lows, highs, color=color, alpha=0.18, linewidth=0)


def size_axis(ax: Axes, x: str, ticks: Sequence[Any]) -> None:
    """Give an axis a logarithmic scale with ticks at the measured sizes.

    Args:
        ax: the axes.
        x: "width" or "depth".
        ticks: the sizes.
    """
    ax.set_xscale("log", base=2)
    sizes = sorted(set(ticks))
    step = max(1, -(-len(sizes) // 7))
    ax.set_xticks(sizes[::step], [f"{size:g}" for size in sizes[::step]])
    ax.minorticks_off()
    ax.set_xlabel(x)


def describe_means(summaries: Sequence[Summary], x: str, *, form: str = ".3g") -> str:
    """Return means as text for the alternative text of a figure: "0.31 at width 4, ...".

    Args:
        summaries: one summary per x.
        x: the column that distinguishes them.
        form: number format.
    """
    sizes = [s.group[x] for s in summaries]
    names = [f"{size:g}" if isinstance(size, float) else str(size) for size in sizes]
    return ", ".join(
        f"{s.mean:{form}} at {x} {name}" for s, name in zip(summaries, names, strict=True)
    )
