"""Entezari et al., Table 3: weight averages after matching, subspace learning, and both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.charts import mean_text
from onebasin_studies.papers.entezari.search import file_name, matched
from onebasin_studies.papers.entezari.settings import (
    CIFAR10_SAMPLE,
    CIFAR10_SAMPLE_RECIPE,
    MNIST_MLP,
    OTHER_MLP,
    SMALL,
    SMOKE_RECIPE,
    Point,
    Series,
    points_of,
)
from onebasin_studies.runtime.drawing import panels
from onebasin_studies.runtime.statistics import Summary, grouped, select, summarize, summary
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks.bundles import select_network
from onebasin_studies.tasks.merging import compare_networks, merge_networks
from onebasin_studies.tasks.training import train_line

FD, SL, BOTH = "FD", "SL", "FD+SL"
WAYS = (FD, SL, BOTH)
"""Methods in the order of increasing midpoint accuracy in the paper: functional difference,
subspace learning, and subspace learning from networks matched by functional difference.
"""

LINES = {SL: "line", BOTH: "line from FD"}
PUBLISHED = {"mnist": (0.9685, 0.9763, 0.9822), "cifar10": (0.5295, 0.5789, 0.5894)}
FEWEST_PAIRS = 3


@dataclass(frozen=True)
class LineSetting:
    """The networks and the training of lines between two of them.

    Args:
        series: series of the networks.
        recipe: hyperparameters of the lines, for `train_line`.
    """

    series: Series
    recipe: Mapping[str, Any]


@dataclass(frozen=True)
class Config:
    """The lines.

    Args:
        lines: lines, each on one dataset.
        num_examples: number of examples used for matching; default: all.
        penalty: weight of the squared cosine between the endpoints of a line.
    """

    lines: Sequence[LineSetting]
    num_examples: int | None = None
    penalty: float | int = 1.0


def tasks(config: Config) -> list[Task]:
    """Return a comparison of the networks and all their averages for every pair."""
    targets = []
    for line in config.lines:
        for point in points_of([line.series]):
            for pair, (a, b) in enumerate(point.pairs()):
                others = _others(point, a, b, line.recipe, config, pair)
                targets.append(
                    Task.of(
                        compare_networks,
                        **point.setting,
                        members=[a, b],
                        names=["A", "B"],
                        others=list(others.values()),
                        other_names=list(others),
                        split="test",
                    ).with_labels(**point.labels, pair=pair)
                )
    return targets


def _others(
    point: Point, a: Task, b: Task, recipe: Mapping[str, Any], config: Config, seed: int
) -> dict[str, Task]:
    """Return the midpoints of the three methods and the endpoints of both lines."""
    moved = matched(point, a, b, "functional-difference", config.num_examples)
    recipe = {**recipe, "penalty": config.penalty}
    lines = {
        SL: Task.of(train_line, **point.setting, recipe=recipe, seed=seed),
        BOTH: Task.of(train_line, **point.setting, recipe=recipe, seed=seed, start=[a, moved]),
    }
    networks = {FD: _middle(point, [a, moved])}
    for way, line in lines.items():
        ends = [
            Task.of(select_network, networks=line.with_cost(point.cost), number=n) for n in (0, 1)
        ]
        networks[way] = _middle(point, ends)
        networks |= {f"{way}, end {n}": end for n, end in enumerate(ends)}
    return networks


def _middle(point: Point, ends: Sequence[Task]) -> Task:
    return Task.of(merge_networks, **point.setting, members=list(ends))


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """The midpoint test accuracy rises from FD to SL to FD+SL, on every dataset.

    The paired difference of both steps has an interval above 0, over at least three pairs.
    """
    candidates = select(rows, row="candidate")
    parts, holds = [], bool(candidates)
    for (data,), part in grouped(candidates, "data").items():
        columns = {way: _by_pair(select(part, name=way)) for way in WAYS}
        pairs = set.intersection(*(set(column) for column in columns.values()))
        if len(pairs) < FEWEST_PAIRS:
            return Verdict.inconclusive(f"{data}: fewer than three pairs.")
        steps = [
            summary([columns[after][pair] - columns[before][pair] for pair in sorted(pairs)])
            for before, after in ((FD, SL), (SL, BOTH))
        ]
        holds &= all(step.low > 0 for step in steps)
        means = ", ".join(
            f"{way} {summary(list(column.values())).mean:.2%}" for way, column in columns.items()
        )
        listing = " and ".join(map(_points, steps))
        parts.append(f"{data}: {means}; steps of {listing} points")
    if not parts:
        return Verdict.inconclusive("Nothing was measured.")
    return Verdict.of(holds, f"Test accuracy at the midpoint, {'; '.join(parts)}.")


def _points(step: Summary) -> str:
    return f"{100 * step.mean:.2f} ({100 * step.low:.2f} to {100 * step.high:.2f})"


def _by_pair(rows: Sequence[Row]) -> dict[int, float]:
    return {row["pair"]: row["accuracy"] for row in rows}


CANDIDATES = ("A", "weights", FD, SL, BOTH, "SL, end 0", "FD+SL, end 0", "probabilities")
NAMES = {"A": "a network", "weights": "average", "probabilities": "ensemble of outputs"}


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the test accuracy of every candidate for each dataset."""
    candidates = select(rows, row="candidate")
    return [_figure(data, part) for (data,), part in grouped(candidates, "data").items()]


def _figure(data: str, rows: Sequence[Row]) -> Picture:
    figure, (ax,) = panels()
    means = [each for name in CANDIDATES for each in summarize(select(rows, name=name), "accuracy")]
    names = [name for name in CANDIDATES if select(rows, name=name)]
    reach = [mean.high - mean.mean if mean.n > 1 else 0.0 for mean in means]
    ax.errorbar([m.mean for m in means], range(len(means)), xerr=reach, fmt="o", capsize=3)
    numbers = zip(WAYS, PUBLISHED.get(data, ()), strict=False)
    published = {names.index(way): value for way, value in numbers if way in names}
    ax.plot(list(published.values()), list(published), "x", label="paper")
    ax.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
    ax.invert_yaxis()
    ax.set_title(data)
    ax.set_xlabel("test accuracy")
    if published:
        ax.legend(frameon=False)
    listing = ", ".join(
        f"{NAMES.get(name, name)} {mean.mean:.4f}" for name, mean in zip(names, means, strict=True)
    )
    alt = f"Mean test accuracy on {data}: {listing}."
    caption = "FD, SL, FD+SL: the midpoint of two networks. Means over pairs, 95 % intervals."
    return Picture(file_name("accuracy", data), figure, alt, caption)


def table(rows: Sequence[Row]) -> Table:
    """Return accuracy, loss and calibration of every candidate."""
    header = ("data", "network", "pairs", "test accuracy", "published", "test loss", "ECE")
    body = []
    candidates = select(rows, row="candidate")
    for (data,), part in grouped(candidates, "data").items():
        published = dict(zip(WAYS, PUBLISHED.get(data, ()), strict=False))
        for name in dict.fromkeys(row["name"] for row in part):
            same = select(part, name=name)
            body.append(
                (
                    data,
                    NAMES.get(name, name),
                    len(same),
                    mean_text(same, "accuracy", ".4f"),
                    f"{published[name]:.4f}" if name in published else "-",
                    mean_text(same, "loss"),
                    mean_text(same, "ece"),
                )
            )
    caption = "Mean over pairs ± half of the 95 % interval. ECE: expected calibration error."
    return Table(header, body, caption)


SGD = {"learning_rate": 0.01, "momentum": 0.9, "batch_size": 64}
CIFAR10 = {**SGD, "learning_rate": 0.001}
DIGITS = Series(SMALL, SMOKE_RECIPE, (16,), pairs=3)

STUDY = Study(
    name="ensembles",
    paper=PAPER,
    item="Table 3",
    claim="At the midpoint, networks matched by functional difference (FD) are less accurate than "
    "a learned line of networks (SL), and lines learned from matched networks (FD+SL) are best.",
    scales={
        "smoke": Config(
            (LineSetting(Series(SMALL, SMOKE_RECIPE, (16,), pairs=3), {**SGD, "epochs": 15}),)
        ),
        "small": Config(
            (
                LineSetting(Series("mnist", widths=(1024,), pairs=4), {**SGD, "epochs": 10}),
                LineSetting(
                    Series(CIFAR10_SAMPLE, CIFAR10_SAMPLE_RECIPE, pairs=4),
                    {**SGD, "learning_rate": 0.003, "epochs": 60},
                ),
            ),
            num_examples=10_000,
        ),
        "paper": Config(
            (
                LineSetting(Series("mnist", MNIST_MLP, (1024,)), {**SGD, "epochs": 100}),
                LineSetting(Series("cifar10", OTHER_MLP, (1024,)), {**CIFAR10, "epochs": 100}),
            )
        ),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
