"""Entezari et al., Figures 3 and 20: the barrier against the depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2

from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.charts import barrier_picture, barrier_table, series_of
from onebasin_studies.papers.entezari.settings import (
    CIFAR10_SAMPLE,
    CIFAR10_SAMPLE_RECIPE,
    SMALL,
    SMOKE_RECIPE,
    Series,
    measured_pairs,
    published_depths,
)
from onebasin_studies.runtime.drawing import describe_means
from onebasin_studies.runtime.statistics import (
    Summary,
    contrast,
    grouped,
    select,
    summarize,
    values_of,
)
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

FEWEST_PAIRS, FEWEST_DEPTHS = 3, 3
DEEP_RECIPE = {**CIFAR10_SAMPLE_RECIPE, "epochs": 240}
"""Eight hidden layers take up to 150 epochs to fit the sample."""


@dataclass(frozen=True)
class Config:
    """The networks and the number of points of a curve.

    Small scale takes about 90 core-minutes, mostly for training.
    """

    series: Sequence[Series] = (
        Series("mnist", widths=(256,), depths=(1, 2, 4, 8)),
        Series(CIFAR10_SAMPLE, DEEP_RECIPE, (512,), (1, 2, 4, 8), pairs=3),
    )
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return the barriers of every pair."""
    return measured_pairs(config.series, config.num_points)


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """Train-loss barriers rise from the smallest depth and level off towards the greatest.

    In every series of MLPs and shallow CNNs, the mean rises from the first depth to the second. Per
    doubling of the depth, the absolute value of the last step is smaller than the step before.
    Steps are differences of means over independent networks. Their 95 % intervals (Welch) must lie
    above 0: of the rise, and of the previous step minus and plus the last step. Each series needs
    at least three depths of three pairs.
    """
    train = series_of(select(rows, split="train"))
    evaluable = {label: _evaluate_claim(part) for label, part in train.items() if _suffices(part)}
    if not evaluable:
        return Verdict.inconclusive(
            f"No series has {FEWEST_DEPTHS} depths with {FEWEST_PAIRS} pairs each."
        )
    text = " ".join(f"{label}: {sentence}." for label, (_, sentence) in evaluable.items())
    return Verdict.of(all(holds for holds, _ in evaluable.values()), text)


def _suffices(rows: Sequence[Row]) -> bool:
    means = summarize(rows, "barrier", by=["depth"])
    is_plain = rows[0]["family"] in ("mlp", "shallow-cnn")
    return is_plain and len(means) >= FEWEST_DEPTHS and all(m.n >= FEWEST_PAIRS for m in means)


def _evaluate_claim(rows: Sequence[Row]) -> tuple[bool, str]:
    pairs = {depth: values_of(part, "barrier") for (depth,), part in grouped(rows, "depth").items()}
    depths, values = list(pairs), list(pairs.values())
    rise = contrast(values[:2], [-1, 1])
    # One step per doubling of the depth.
    before, last = (1 / log2(b / a) for a, b in pairwise(depths[-3:]))
    less, more = (
        contrast(values[-3:], [-before, before + sign * last, -sign * last]) for sign in (1, -1)
    )
    means = summarize(rows, "barrier", by=["depth"])
    steps = [
        factor * (b.mean - a.mean)
        for factor, (a, b) in zip((before, last), pairwise(means[-3:]), strict=True)
    ]
    return min(rise.low, less.low, more.low) > 0, (
        f"mean train-loss barrier {describe_means(means, 'depth', form='.3f')}; the first step "
        f"adds {_interval(rise)}; the last doubling adds {steps[1]:.3f} and "
        f"the one before {steps[0]:.3f}, a difference of {_interval(less)}"
    )


def _interval(difference: Summary) -> str:
    return f"{difference.mean:.3f} ({difference.low:.3f} to {difference.high:.3f})"


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the barriers on both splits against the depth."""
    return [barrier_picture(rows, "depth", split) for split in ("train", "test")]


def table(rows: Sequence[Row]) -> Table:
    """Return the barriers of every depth."""
    return barrier_table(rows, "depth")


STUDY = Study(
    name="depth",
    paper=PAPER,
    item="Figures 3 and 20",
    claim="The barrier rises fast with the depth and saturates.",
    scales={
        "smoke": Config(
            (Series(SMALL, SMOKE_RECIPE, (32,), (1, 2), pairs=2),),
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
