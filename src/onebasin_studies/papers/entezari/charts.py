"""Charts and tables of barriers against a size, shared by the studies of Entezari et al."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onebasin_studies.runtime.drawing import describe_means, draw_means, panels, size_axis
from onebasin_studies.runtime.statistics import Summary, grouped, select, summarize
from onebasin_studies.runtime.study import Picture, Row, Table

SERIES = ("family", "data", "normalization")
"""The columns that identify one curve of a figure."""


def series_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return rows by series, under names such as "mlp on mnist"."""
    many = {row["normalization"] for row in rows} > {"interpolated"}
    series = {}
    for (family, data, normalization), part in grouped(rows, *SERIES).items():
        listing = f", statistics {normalization}" if many and family in ("vgg", "resnet") else ""
        series[f"{family} on {data}{listing}"] = part
    return series


def barrier_picture(rows: Sequence[Row], x: str, split: str) -> Picture:
    """Draw loss and error barriers against a size, one line per series.

    Args:
        rows: rows of `measure_barrier`.
        x: "width" or "depth".
        split: "train" or "test".
    """
    figure, axes = panels(2, num_columns=1)
    words = []
    for ax, column, name in zip(axes, ("barrier", "error_barrier"), ("loss", "error"), strict=True):
        for label, part in series_of(select(rows, split=split)).items():
            means = summarize(part, column, by=[x])
            draw_means(ax, means, x, label=label)
            words.append(f"{label}, {name}: {describe_means(means, x)}")
        size_axis(ax, x, [row[x] for row in rows])
        ax.set_ylabel(f"{split} {name} barrier")
    if rows:
        axes[0].legend(frameon=False)
    alt = f"Barriers on the {split} set against the {x}. {'; '.join(words)}."
    caption = "Means over pairs of networks, with their 95 % intervals."
    return Picture(f"{x}-{split}", figure, alt, caption)


def barrier_table(rows: Sequence[Row], x: str) -> Table:
    """Return barriers by series and size.

    Args:
        rows: rows of `measure_barrier`.
        x: "width" or "depth".
    """
    header = (
        "series",
        x,
        "pairs",
        "train error",
        "test error",
        "train loss barrier",
        "test loss barrier",
        "train error barrier",
    )
    body = []
    for label, part in series_of(rows).items():
        for (size,), same in grouped(part, x).items():
            train, test = select(same, split="train"), select(same, split="test")
            cells = (
                mean_text(train, "error_a", ".4f"),
                mean_text(test, "error_a", ".4f"),
                mean_text(train, "barrier"),
                mean_text(test, "barrier"),
                mean_text(train, "error_barrier"),
            )
            body.append((label, size, len(train), *cells))
    return Table(header, body, "Mean over pairs ± half of the 95 % interval; errors of networks.")


def mean_text(rows: Sequence[Row], column: str, form: str = ".3f") -> Summary | str:
    """Return the mean of a column with its interval, or a dash without values."""
    means = summarize(rows, column)
    return replace(means[0], form=form) if means else "-"
