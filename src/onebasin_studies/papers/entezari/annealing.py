"""Entezari et al., Figures 6 and 12: the gain of annealing with two and with five networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.charts import mean_text
from onebasin_studies.papers.entezari.search import Search, file_name
from onebasin_studies.papers.entezari.settings import (
    CIFAR10_SAMPLE,
    CIFAR10_SAMPLE_RECIPE,
    SMALL,
    SMOKE_RECIPE,
    Point,
    Series,
    points_of,
    published_depths,
    published_widths,
)
from onebasin_studies.runtime.drawing import describe_means, draw_means, panels, size_axis
from onebasin_studies.runtime.statistics import grouped, select, summarize, summary, values_of
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks.measuring import measure_set

FEW, MANY = 2, 5
"""Number of networks that are aligned jointly."""

BEFORE, AFTER = "before", "after"
FEWEST = 3
LARGE = 0.5
"""Minimum fraction of the barrier removed by a large gain."""


@dataclass(frozen=True)
class Config:
    """The networks and the annealing.

    Args:
        widths: series of one hidden layer.
        depths: series of several depths; the shallowest points are compared with the deepest.
        search: annealing of two and of five networks with one hidden layer.
        deep: annealing for the series of several depths, where a step takes longer.
        groups: number of sets of five networks per point.
        num_points: number of points of each curve.
    """

    widths: Sequence[Series]
    depths: Sequence[Series]
    search: Search
    deep: Search
    groups: int = 2
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return the barriers of every pair and every five networks, before and after annealing."""
    axes = [("width", config.widths, config.search), ("depth", config.depths, config.deep)]
    return [
        measure.with_labels(axis=axis)
        for axis, series, search in axes
        for point in points_of(series)
        for measure in _measures(point, search, config)
    ]


def _measures(point: Point, search: Search, config: Config) -> list[Task]:
    counts = {FEW: point.series.pairs, MANY: config.groups}
    networks = point.networks(max(size * count for size, count in counts.items()))
    return [
        measure
        for size, count in counts.items()
        for number in range(count)
        for measure in _of_set(
            point,
            networks[size * number : size * (number + 1)],
            replace(search, seed=number),
            config.num_points,
        )
    ]


def _of_set(point: Point, members: Sequence[Task], search: Search, num_points: int) -> list[Task]:
    tasks = []
    for state, ends in ((BEFORE, members), (AFTER, search.moved(point, members))):
        measure = Task.of(
            measure_set, **point.setting, networks=ends, num_points=num_points
        ).with_labels(**point.labels, networks=len(members), set=search.seed, state=state)
        tasks.append(measure.with_cost(point.cost * len(members) ** 2))
    return tasks


def gains(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return for every annealed set the removed fraction of its training barriers."""
    result = []
    columns = ("axis", "family", "data", "width", "depth", "networks", "set")
    for key, part in grouped(select(rows, split="train"), *columns).items():
        states = {row["state"]: row for row in part}
        if states.keys() == {BEFORE, AFTER}:
            gain, loss_gain = (_gain(states, name) for name in ("error_barrier", "barrier"))
            labels = dict(zip(columns, key, strict=True))
            result.append({**labels, "gain": gain, "loss_gain": loss_gain})
    return result


def _gain(states: Mapping[str, Row], barrier: str) -> float:
    """Return the removed fraction, or NaN without a barrier."""
    before, after = states[BEFORE][barrier], states[AFTER][barrier]
    return 1 - after / before if before > 0 else nan


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """On MNIST two shallow MLPs gain much; five of them and two deep ones gain little.

    The gain is the fraction of the training-error barrier that annealing removes. The interval of
    its mean over widths and sets lies above 50 % for two networks of one hidden layer, and below 50
    % for five of them and for two of the greatest depth. Each case needs at least three sets. The
    gain of the loss is reported only.
    """
    evaluable = [r for r in gains(rows) if r["data"] == "mnist" and r["family"] == "mlp"]
    deep = select(evaluable, axis="depth", networks=FEW)
    deepest = max((row["depth"] for row in deep), default=1)
    kinds = {
        "two networks of one hidden layer": select(evaluable, axis="width", networks=FEW),
        "five": select(evaluable, axis="width", networks=MANY),
        f"two of {deepest} hidden layers": select(deep, depth=deepest),
    }
    values = [values_of(kind, "gain") for kind in kinds.values()]
    if min(map(len, values)) < FEWEST or deepest == 1:
        return Verdict.inconclusive("Fewer than three sets of two, of five or of deep networks.")
    two, five, last = map(summary, values)
    listing = "; ".join(
        f"{name}: {each.mean:.0%} ({each.low:.0%} to {each.high:.0%}; of the loss "
        f"{mean_text(kind, 'loss_gain', '.0%')})"
        for (name, kind), each in zip(kinds.items(), (two, five, last), strict=True)
    )
    text = (
        f"Fraction of the training-error barrier that annealing removes: {listing}; "
        "the threshold is 50 %."
    )
    return Verdict.of(two.low > LARGE and five.high < LARGE and last.high < LARGE, text)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw training-error barriers before and after annealing against width and depth."""
    train = select(rows, split="train")
    return [
        _figure(axis, label, part)
        for (axis, *_, label), part in _series(train).items()
        if len({row[axis] for row in part}) > 1
    ]


def _series(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Return rows and a name by axis and series."""
    return {
        (axis, f"{family} on {data}"): part
        for (axis, family, data), part in grouped(rows, "axis", "family", "data").items()
    }


def _figure(axis: str, label: str, rows: Sequence[Row]) -> Picture:
    figure, axes = panels(2, num_columns=1)
    words = []
    for ax, number in zip(axes, (MANY, FEW), strict=True):
        for state in (BEFORE, AFTER):
            part = select(rows, networks=number, state=state)
            means = summarize(part, "error_barrier", by=[axis])
            draw_means(ax, means, axis, label=state)
            words.append(f"{number} networks {state}: {describe_means(means, axis)}")
        size_axis(ax, axis, [row[axis] for row in rows])
        ax.set_title(f"{label}, {number} networks")
        ax.set_ylabel("train error barrier")
        ax.set_ylim(bottom=0)
    axes[0].legend(frameon=False, title="annealing")
    alt = f"Mean barrier between {label}, against the {axis}. {'; '.join(words)}."
    caption = "Means over sets of networks with their 95 % intervals; of five, over all pairs."
    return Picture(file_name(axis, label), figure, alt, caption)


def table(rows: Sequence[Row]) -> Table:
    """Return barriers and gains by series, size and number of networks."""
    header = (
        "series",
        "width",
        "depth",
        "networks",
        "sets",
        "train error barrier before",
        "after",
        "gain",
        "train loss barrier before",
        "after",
        "test error barrier after",
    )
    columns = ("family", "data", "width", "depth", "networks")
    gained, body = gains(rows), []
    for key, part in grouped(rows, *columns).items():
        labels = dict(zip(columns, key, strict=True))
        # A point on both axes has the same sets.
        part = select(part, axis=min(row["axis"] for row in part))
        train = {state: select(part, split="train", state=state) for state in (BEFORE, AFTER)}
        gain = mean_text(select(gained, axis=part[0]["axis"], **labels), "gain", ".2f")
        body.append(
            (
                f"{labels['family']} on {labels['data']}",
                labels["width"],
                labels["depth"],
                labels["networks"],
                len({row["set"] for row in part}),
                mean_text(train[BEFORE], "error_barrier"),
                mean_text(train[AFTER], "error_barrier"),
                gain,
                mean_text(train[BEFORE], "barrier"),
                mean_text(train[AFTER], "barrier"),
                mean_text(select(part, split="test", state=AFTER), "error_barrier"),
            )
        )
    return Table(header, body, "Mean over sets ± half of the 95 % interval.")


STUDY = Study(
    name="annealing",
    paper=PAPER,
    item="Figures 6 and 12",
    claim="Annealing removes much of the barrier between two shallow networks, and little between "
    "five of them or between deep networks.",
    scales={
        "smoke": Config(
            widths=(Series(SMALL, SMOKE_RECIPE, (8, 16), pairs=2),),
            depths=(Series(SMALL, SMOKE_RECIPE, (16,), (1, 2), pairs=2),),
            search=Search(steps=200),
            deep=Search(steps=200),
            groups=1,
            num_points=5,
        ),
        "small": Config(
            widths=(
                Series("mnist", widths=(16, 64, 256, 1024), pairs=5),
                Series(CIFAR10_SAMPLE, CIFAR10_SAMPLE_RECIPE, (16, 64, 256), pairs=3),
            ),
            depths=(
                Series("mnist", widths=(256,), depths=(1, 2, 4), pairs=3),
                Series("mnist", widths=(256,), depths=(8,), pairs=6),
            ),
            search=Search(steps=10_000, num_examples=10_000),
            deep=Search(steps=5000, num_examples=3000),
            num_points=7,
        ),
        "paper": Config(
            widths=published_widths(),
            depths=published_depths(),
            search=Search(),
            deep=Search(),
            num_points=25,
        ),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
