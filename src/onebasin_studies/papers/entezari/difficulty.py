"""Entezari et al., Figure 4: the barrier against the difficulty of the task for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.settings import (
    CIFAR10_SAMPLE,
    CIFAR10_SAMPLE_RECIPE,
    CONVOLUTIONAL,
    SMALL,
    SMALL_RECIPE,
    SMOKE_RECIPE,
    Series,
    measured_pairs,
    published_depths,
)
from onebasin_studies.runtime.drawing import panels
from onebasin_studies.runtime.statistics import bootstrap, grouped, select, summarize
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

FEWEST_PAIRS, FEWEST_POINTS = 3, 5
PLAIN = ("mlp", "shallow-cnn")
MNIST_SAMPLE = {"name": "mnist", "max_train_examples": 10_000, "max_test_examples": 2000}
_CNN = {**CONVOLUTIONAL, "epochs": 60}


@dataclass(frozen=True)
class Config:
    """The networks, the data and the number of points of a curve.

    Small scale takes about 40 core-minutes; half of it is shared with the studies of depth and
    width.
    """

    series: Sequence[Series] = (
        Series("mnist", widths=(256,), depths=(1, 2, 4)),
        Series(MNIST_SAMPLE, SMALL_RECIPE, (256,), (1, 2, 4), pairs=3),
        Series(CIFAR10_SAMPLE, CIFAR10_SAMPLE_RECIPE, (256,), (1, 2, 4), pairs=3),
        Series(MNIST_SAMPLE, _CNN, (16,), (2, 4), "shallow-cnn", 3),
        Series(CIFAR10_SAMPLE, _CNN, (16,), (2, 4), "shallow-cnn", 3),
    )
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return the barriers of every pair."""
    return measured_pairs(config.series, config.num_points)


def architectures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the mean test error and barrier for each architecture and dataset."""
    points = []
    columns = ("family", "data", "width", "depth", "normalization")
    for key, part in grouped(rows, *columns).items():
        errors = summarize(select(part, split="test"), "error_a")
        barriers = summarize(select(part, split="train"), "barrier")
        if errors and barriers:
            mean = {"test_error": errors[0].mean, "barrier": barriers[0].mean, "n": barriers[0].n}
            points.append({**dict(zip(columns, key, strict=True)), **mean})
    return points


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """Test error and barrier of plain networks are correlated; deep networks are exceptions.

    For MLPs and shallow CNNs, the rank correlation of the mean test error and the mean train-loss
    barrier is positive, including the lower end of its bootstrap 95 % interval. On each dataset
    with VGG or ResNet, their barriers exceed those of the plain networks with the lowest test
    error. Architectures count with at least three pairs.
    """
    points = [point for point in architectures(rows) if point["n"] >= FEWEST_PAIRS]
    plain = [point for point in points if point["family"] in PLAIN]
    if len(plain) < FEWEST_POINTS:
        return Verdict.inconclusive(
            f"{len(plain)} architectures and datasets have {FEWEST_PAIRS} pairs; {FEWEST_POINTS} "
            "are needed."
        )
    correlation = _correlation(plain)
    low, high = bootstrap(plain, _correlation)
    text = (
        f"Rank correlation of test error and train-loss barrier over {len(plain)} plain networks: "
        f"{correlation:.2f} (95 % interval {low:.2f} to {high:.2f})."
    )
    deep = [p for p in points if p["family"] not in PLAIN and p["normalization"] == "interpolated"]
    low_ones = [p for p in deep if p["barrier"] <= _best_plain(plain, p["data"])]
    if deep:
        text += f" {len(deep) - len(low_ones)} of {len(deep)} deep networks have higher barriers."
    else:
        text += " No deep network was measured, so that part of the claim is not evaluated."
    return Verdict.of(correlation > 0 and low > 0 and not low_ones, text)


def _best_plain(plain: Sequence[Row], data: str) -> float:
    same = [point for point in plain if point["data"] == data]
    return min(same, key=lambda p: p["test_error"])["barrier"] if same else 0.0


def _correlation(points: Sequence[Row]) -> float:
    """Return Spearman's correlation; 0 if one variable is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata([point[name] for point in points]) for name in ("test_error", "barrier")]
    if any(len(set(each)) < 2 for each in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the barrier of every architecture and dataset against its test error."""
    figure, (ax,) = panels()
    words = []
    columns = ("family", "data")
    for (family, data), points in grouped(architectures(rows), *columns).items():
        errors, barriers = ([p[name] for p in points] for name in ("test_error", "barrier"))
        ax.scatter(errors, barriers, label=f"{family} on {data}")
        words += [
            f"{family} of depth {p['depth']} and width {p['width']} on {data}: error "
            f"{p['test_error']:.3f}, barrier {p['barrier']:.3g}"
            for p in points
        ]
    ax.set_xlabel("test error")
    ax.set_ylabel("train loss barrier")
    if words:
        ax.legend(frameon=False)
    alt = f"Barrier on the training set against the test error. {'; '.join(words)}."
    return [Picture("difficulty", figure, alt, "Means over pairs; a point per architecture.")]


def table(rows: Sequence[Row]) -> Table:
    """Return the points of the figure."""
    header = ("network", "data", "depth", "width", "statistics", "pairs", "test error", "barrier")
    body = [
        (
            point["family"],
            point["data"],
            point["depth"],
            point["width"],
            point["normalization"],
            point["n"],
            f"{point['test_error']:.4f}",
            f"{point['barrier']:.3f}",
        )
        for point in architectures(rows)
    ]
    return Table(header, body, "Means over pairs; barrier of the training loss.")


STUDY = Study(
    name="difficulty",
    paper=PAPER,
    item="Figure 4",
    claim="Over architectures and datasets the barrier of MLPs and shallow CNNs rises with the "
    "test error; deep networks have low errors and high barriers.",
    scales={
        "smoke": Config(
            (
                Series(SMALL, SMOKE_RECIPE, (32,), (1, 2), pairs=2),
                Series(
                    {"name": SMALL, "max_train_examples": 200}, SMOKE_RECIPE, (32,), (1, 2), pairs=2
                ),
            ),
            num_points=5,
        ),
        "small": Config(),
        "paper": Config(published_depths(deep=True), num_points=25),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
