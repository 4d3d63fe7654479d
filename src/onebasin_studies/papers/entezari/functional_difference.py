"""Entezari et al., Figure 15: matching by functional difference against simulated annealing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.charts import mean_text
from onebasin_studies.papers.entezari.search import Search, file_name, matched
from onebasin_studies.papers.entezari.settings import (
    CIFAR10_SAMPLE,
    CIFAR10_SAMPLE_RECIPE,
    SMALL,
    SMOKE_RECIPE,
    Point,
    Series,
    points_of,
    published_widths,
)
from onebasin_studies.runtime.drawing import describe_means, draw_means, panels, size_axis
from onebasin_studies.runtime.statistics import Summary, grouped, select, summarize, summary
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

UNMOVED, ANNEALED, DIFFERENCE = "none", "annealing (published)", "functional-difference"
MATCHERS = {DIFFERENCE: "functional difference", "weights": "weights"}
"""Matchers and their names in rows; weight matching is shown for comparison."""

FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Config:
    """The networks and their matching.

    Args:
        series: series of networks.
        searches: annealing, one search per schedule.
        num_examples: number of examples for the other matchers; default: all.
        num_points: number of points of each curve.
    """

    series: Sequence[Series]
    searches: Sequence[Search] = (Search(),)
    num_examples: int | None = None
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return the barriers of every pair, unmatched and after each of the searches."""
    return [
        barrier.with_labels(pair=pair, method=method)
        for point in points_of(config.series)
        for pair, (a, b) in enumerate(point.pairs())
        for method, end in _ends(point, a, b, config, pair).items()
        for barrier in point.barriers(a, end, config.num_points)
    ]


def _ends(point: Point, a: Task, b: Task, config: Config, seed: int) -> Mapping[str, Task]:
    ends = {UNMOVED: b}
    for search in config.searches:
        ends[f"annealing ({search.schedule})"] = replace(search, seed=seed).moved(point, [a, b])[1]
    for method, name in MATCHERS.items():
        ends[name] = matched(point, a, b, method, config.num_examples)
    return ends


def differences(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return for each pair the training barrier after annealing minus that after functional
    difference.
    """
    differences = []
    columns = ("family", "data", "width", "depth", "normalization", "pair")
    for key, part in grouped(select(rows, split="train"), *columns).items():
        ends = {row["method"]: row for row in part}
        if {ANNEALED, MATCHERS[DIFFERENCE]} <= ends.keys():
            annealed, other = ends[ANNEALED], ends[MATCHERS[DIFFERENCE]]
            excess = {c: annealed[c] - other[c] for c in ("error_barrier", "barrier")}
            differences.append({**dict(zip(columns, key, strict=True)), **excess})
    return differences


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """Functional difference leaves a lower training-error barrier than published annealing.

    In every series, the interval of the paired difference, averaged over widths and pairs, lies
    above 0. Each series needs at least three pairs. The barrier of the loss, which annealing does
    not optimize, is reported only.
    """
    parts, holds = [], True
    for (family, data, normalization), part in grouped(
        differences(rows), "family", "data", "normalization"
    ).items():
        if len({row["pair"] for row in part}) < FEWEST_PAIRS:
            return Verdict.inconclusive(f"{family} on {data}: fewer than three pairs.")
        error, loss = (summary([row[c] for row in part]) for c in ("error_barrier", "barrier"))
        holds &= error.low > 0
        widths = summarize(part, "error_barrier", by=["width"])
        parts.append(
            f"{family} on {data} ({normalization}): {_interval_text(error)}; "
            f"{describe_means(widths, 'width', form='.3f')}; "
            f"of the loss: {_interval_text(loss)}"
        )
    if not parts:
        return Verdict.inconclusive("No pair was matched both ways.")
    text = (
        "Train-error barrier after annealing with the published schedule, minus the barrier after "
        f"functional difference. Mean over widths with 95 % interval: {'. '.join(parts)}."
    )
    return Verdict.of(holds, text)


def _interval_text(difference: Summary) -> str:
    return f"{difference.mean:.3f} ({difference.low:.3f} to {difference.high:.3f})"


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the barrier against the width for each series, one line per method."""
    return [
        _figure(family, data, part)
        for (family, data), part in grouped(rows, "family", "data").items()
    ]


def _figure(family: str, data: str, rows: Sequence[Row]) -> Picture:
    figure, axes = panels(2, num_columns=1)
    words = []
    for ax, column, name in zip(axes, ("error_barrier", "barrier"), ("error", "loss"), strict=True):
        for (method,), part in grouped(select(rows, split="train"), "method").items():
            means = summarize(part, column, by=["width"])
            draw_means(ax, means, "width", label="not moved" if method == UNMOVED else method)
            words.append(f"{name}, {method}: {describe_means(means, 'width')}")
        size_axis(ax, "width", [row["width"] for row in rows])
        ax.set_ylabel(f"train {name} barrier")
        ax.set_ylim(bottom=0)
    axes[0].set_title(f"{family} on {data}")
    axes[0].legend(frameon=False)
    alt = f"Barriers of {family} on {data} by how B was moved. {'; '.join(words)}."
    name = file_name("width", family, data)
    return Picture(name, figure, alt, "Means over pairs with their 95 % intervals.")


def table(rows: Sequence[Row]) -> Table:
    """Return barriers by series, width and method."""
    header = (
        "series",
        "width",
        "matched by",
        "pairs",
        "train error barrier",
        "train loss barrier",
        "test error barrier",
    )
    columns = ("family", "data", "width", "depth", "normalization", "method")
    body = []
    for (family, data, width, depth, _, method), part in grouped(rows, *columns).items():
        train, test = select(part, split="train"), select(part, split="test")
        cells = (mean_text(train, "error_barrier"), mean_text(train, "barrier"))
        last = mean_text(test, "error_barrier")
        name = f"{family} of depth {depth} on {data}"
        body.append((name, width, method, len(train), *cells, last))
    return Table(header, body, "Mean over pairs ± half of the 95 % interval.")


STUDY = Study(
    name="functional-difference",
    paper=PAPER,
    item="Figure 15",
    claim="Matching units by their functional difference leaves a lower barrier than annealing.",
    scales={
        "smoke": Config(
            (Series(SMALL, SMOKE_RECIPE, (8, 32), pairs=3),),
            searches=(Search(steps=300),),
            num_points=5,
        ),
        "small": Config(
            (
                Series("mnist", widths=(16, 64, 256, 1024), pairs=5),
                Series(CIFAR10_SAMPLE, CIFAR10_SAMPLE_RECIPE, (16, 64, 256), pairs=3),
            ),
            searches=(
                Search(num_examples=10_000),
                Search(num_examples=10_000, schedule="calibrated"),
            ),
        ),
        "paper": Config(published_widths(), num_points=25),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
