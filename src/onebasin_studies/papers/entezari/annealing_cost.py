"""Entezari et al., Figure 14 and Table 2: the barrier against the number of annealing steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.charts import mean_text
from onebasin_studies.papers.entezari.search import Search
from onebasin_studies.papers.entezari.settings import (
    MNIST_MLP,
    SMALL,
    SMOKE_RECIPE,
    Point,
    Series,
    points_of,
)
from onebasin_studies.runtime.drawing import describe_means, draw_means, panels
from onebasin_studies.runtime.statistics import Summary, grouped, select, summarize, summary
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks.measuring import measure_set

STEPS = (10, 100, 1000, 10_000, 50_000)
PUBLISHED = {
    16: (0.470, 0.331, 0.190, 0.105, 0.055),
    32: (0.430, 0.302, 0.175, 0.0995, 0.055),
    64: (0.271, 0.202, 0.121, 0.085, 0.048),
}
"""Table 2, by width; corrects .995 in the paper to .0995."""

SEARCH, BARRIER = "search", "barrier"
FEWEST_PAIRS, FEWEST_SEARCHES = 3, 3


@dataclass(frozen=True)
class Config:
    """The networks and the numbers of steps.

    Args:
        series: series of one hidden layer.
        steps: numbers of steps, increasing.
        searches: one search per schedule, with `steps` replaced.
        num_points: number of points of each curve.
    """

    series: Series
    steps: Sequence[int] = STEPS
    searches: Sequence[Search] = (Search(),)
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return the cost and the remaining barrier of each search of each pair."""
    targets = []
    for point in points_of([config.series]):
        for pair, (a, b) in enumerate(point.pairs()):
            before = _barrier(point, [a, b], config).with_labels(pair=pair, steps=0)
            targets.append(before.with_labels(schedule="none"))
            for search in config.searches:
                for steps in config.steps:
                    labels = {"pair": pair, "steps": steps, "schedule": search.schedule}
                    one = replace(search, steps=steps, seed=pair)
                    cost = one.search(point, [a, b]).with_labels(kind=SEARCH, **point.labels)
                    measure = _barrier(point, one.moved(point, [a, b]), config)
                    targets += [cost.with_labels(**labels), measure.with_labels(**labels)]
    return targets


def _barrier(point: Point, ends: Sequence[Task], config: Config) -> Task:
    measure = Task.of(measure_set, **point.setting, networks=ends, num_points=config.num_points)
    return measure.with_labels(kind=BARRIER, **point.labels).with_cost(point.cost)


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """With the published schedule the barrier falls with every increase of the steps.

    The criterion uses the training-error barrier. At every width its mean falls from each number of
    steps to the next. For each increase the 95 % interval of the fall, paired and over all widths,
    lies above 0. Each width needs at least three pairs and three searches, the longest with at
    least 50,000 steps.
    """
    train = select(rows, kind=BARRIER, split="train", schedule="published")
    parts, holds = [], True
    for (width,), part in grouped(train, "width").items():
        means = summarize(part, "error_barrier", by=["steps"])
        if lack := _lack(means):
            return Verdict.inconclusive(f"Width {width}: {lack}.")
        holds &= all(after.mean < before.mean for before, after in pairwise(means))
        parts.append(
            f"width {width}: {describe_means(means, 'steps')}{_against_paper(part, means)}"
        )
    if not parts:
        return Verdict.inconclusive("Nothing was measured with the published schedule.")
    fallen = falls(train)
    holds &= all(fall.low > 0 for fall in fallen.values())
    text = ", ".join(
        f"{fall.mean:.4f} ({fall.low:.4f} to {fall.high:.4f}) at {steps:,} steps"
        for steps, fall in fallen.items()
    )
    return Verdict.of(
        holds,
        f"Mean train-error barrier, {'; '.join(parts)}. Mean fall over all "
        f"widths since the previous number of steps: {text}.",
    )


def _lack(means: Sequence[Summary]) -> str:
    """Return what is missing for a width, or ""."""
    if len(means) < FEWEST_SEARCHES or min(mean.n for mean in means) < FEWEST_PAIRS:
        return "fewer than three pairs, or three searches"
    most = max(mean.group["steps"] for mean in means)
    return f"{most:,} steps at most, not {STEPS[-1]:,}" if most < STEPS[-1] else ""


def falls(rows: Sequence[Row]) -> dict[int, Summary]:
    """Return the fall of the barriers with each increase of the steps, by the larger number of
    steps.

    Args:
        rows: barriers after searches with one schedule; falls are paired.
    """
    falls: dict[int, list[float]] = {}
    for part in grouped(rows, "width", "pair").values():
        walks = sorted((row["steps"], row["error_barrier"]) for row in part)
        for (_, before), (steps, after) in pairwise(walks):
            falls.setdefault(steps, []).append(before - after)
    return {steps: summary(values) for steps, values in sorted(falls.items())}


def _against_paper(rows: Sequence[Row], means: Sequence[Summary]) -> str:
    """Return the number of steps that reaches the last published barrier, on MNIST."""
    published = PUBLISHED.get(rows[0]["width"]) if rows[0]["data"] == "mnist" else None
    if published is None:
        return ""
    reached = [mean.group["steps"] for mean in means if mean.mean <= published[-1]]
    when = f"reached at {reached[0]:,} steps" if reached else "not reached"
    return f" (published: {published[-1]:.3f} at {STEPS[-1]:,}, {when} here)"


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the barrier against the steps, one line per width and one panel per schedule."""
    train = select(rows, kind=BARRIER, split="train")
    schedules = grouped([row for row in train if row["steps"]], "schedule")
    figure, axes = panels(max(1, len(schedules)), num_columns=1)
    words = []
    for ax, ((schedule,), part) in zip(axes, schedules.items(), strict=False):
        for (width,), same in grouped(part, "width").items():
            means = summarize(same, "error_barrier", by=["steps"])
            draw_means(ax, means, "steps", label=f"width {width}")
            words.append(f"{schedule}, width {width}: {describe_means(means, 'steps')}")
            color = ax.lines[-1].get_color()
            if same[0]["data"] == "mnist" and schedule == "published" and width in PUBLISHED:
                ax.plot(STEPS, PUBLISHED[width], "x", color=color, markersize=5)
        ax.set_xscale("log")
        ax.set_ylim(bottom=0)
        ax.set_title(f"{schedule} schedule")
        ax.set_xlabel("steps of annealing")
        ax.set_ylabel("train error barrier")
        ax.legend(frameon=False)
    alt = f"Mean train-error barrier against the steps of annealing. {'; '.join(words)}."
    caption = "Means over pairs with their 95 % intervals. Crosses, on MNIST: Table 2 of the paper."
    return [Picture("steps", figure, alt, caption)]


def table(rows: Sequence[Row]) -> Table:
    """Return barriers, published barriers, and seconds."""
    header = (
        "width",
        "schedule",
        "steps",
        "pairs",
        "train error barrier",
        "published",
        "train loss barrier",
        "test error barrier",
        "seconds",
    )
    body = []
    for (width, schedule, steps), part in grouped(rows, "width", "schedule", "steps").items():
        train = select(part, kind=BARRIER, split="train")
        is_comparable = schedule == "published" and part[0]["data"] == "mnist"
        numbers = PUBLISHED.get(width, ()) if is_comparable else ()
        published = dict(zip(STEPS, numbers, strict=False)).get(steps)
        body.append(
            (
                width,
                schedule,
                steps,
                len(train),
                mean_text(train, "error_barrier"),
                "-" if published is None else f"{published:.3g}",
                mean_text(train, "barrier"),
                mean_text(select(part, kind=BARRIER, split="test"), "error_barrier"),
                mean_text(select(part, kind=SEARCH), "seconds", ".3g"),
            )
        )
    return Table(header, body, "Mean over pairs ± half of the 95 % interval. 0 steps: as trained.")


STUDY = Study(
    name="annealing-cost",
    paper=PAPER,
    item="Figure 14 and Table 2",
    claim="The barrier after annealing keeps falling with the number of steps, up to 50,000.",
    scales={
        "smoke": Config(
            Series(SMALL, SMOKE_RECIPE, (8,), pairs=3),
            steps=(10, 1000),
            searches=(Search(), Search(schedule="calibrated")),
            num_points=5,
        ),
        "small": Config(
            Series("mnist", widths=tuple(PUBLISHED), pairs=5),
            searches=(
                Search(num_examples=10_000),
                Search(num_examples=10_000, schedule="calibrated"),
            ),
        ),
        "paper": Config(
            Series("mnist", MNIST_MLP, tuple(PUBLISHED), pairs=5),
            num_points=25,
        ),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
