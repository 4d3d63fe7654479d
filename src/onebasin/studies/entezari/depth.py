"""Entezari et al., Figures 3 and 20: the barrier against the depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onebasin.studies.entezari import PAPER
from onebasin.studies.entezari.charts import barrier_picture, barrier_table, series_of
from onebasin.studies.entezari.settings import (
    CIFAR10_SAMPLE,
    CIFAR10_SAMPLE_RECIPE,
    SMALL,
    SMOKE_RECIPE,
    Series,
    measured_pairs,
    published_depths,
)
from onebasin.studies.statistics import select, summarise
from onebasin.studies.study import Picture, Row, Study, Table, Verdict
from onebasin.studies.task import Task

FEWEST_PAIRS, FEWEST_DEPTHS = 3, 3
DEEP_RECIPE = {**CIFAR10_SAMPLE_RECIPE, "epochs": 240}
"""Eight hidden layers take up to 150 epochs to fit the sample."""


@dataclass(frozen=True)
class Config:
    """Which networks, and points of a curve.

    Desk scale is estimated at 90 core-minutes, nearly all of them for training.
    """

    series: Sequence[Series] = (
        Series("mnist", widths=(256,), depths=(1, 2, 4, 8)),
        Series(CIFAR10_SAMPLE, DEEP_RECIPE, (512,), (1, 2, 4, 8), pairs=3),
    )
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return a measure of every pair."""
    return measured_pairs(config.series, config.num_points)


def verdict(rows: Sequence[Row]) -> Verdict:
    """Train-loss barriers rise from the least depth on, and at last by less than before.

    In every series of MLPs and shallow CNNs the second depth's mean is above the interval of
    the first one's, and the last step in depth adds less than all steps before it together.
    """
    train = series_of(select(rows, split="train"))
    judged = {label: _judge(part) for label, part in train.items() if _suffices(part)}
    if not judged:
        return Verdict.too_little(
            f"No series has {FEWEST_DEPTHS} depths with {FEWEST_PAIRS} pairs each."
        )
    text = " ".join(f"{label}: {sentence}." for label, (_, sentence) in judged.items())
    return Verdict.of(all(holds for holds, _ in judged.values()), text)


def _suffices(rows: Sequence[Row]) -> bool:
    means = summarise(rows, "barrier", by=["depth"])
    is_plain = rows[0]["family"] in ("mlp", "shallow-cnn")
    return is_plain and len(means) >= FEWEST_DEPTHS and all(m.n >= FEWEST_PAIRS for m in means)


def _judge(rows: Sequence[Row]) -> tuple[bool, str]:
    means = summarise(rows, "barrier", by=["depth"])
    first, second, before, last = means[0], means[1], means[-2], means[-1]
    told = ", ".join(f"{mean.mean:.3f} at depth {mean.group['depth']}" for mean in means)
    early, late = before.mean - first.mean, last.mean - before.mean
    holds = second.mean > first.high and late < early
    return holds, (
        f"mean train-loss barrier {told}; the last step adds {late:.3f}, those before {early:.3f}"
    )


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the barriers on both sets against the depth."""
    return [barrier_picture(rows, "depth", split) for split in ("train", "test")]


def table(rows: Sequence[Row]) -> Table:
    """Return the barriers of every depth."""
    return barrier_table(rows, "depth")


STUDY = Study(
    name="depth",
    paper=PAPER,
    item="Figures 3 and 20",
    claim="The barrier rises fast with depth, and saturates.",
    scales={
        "smoke": Config(
            (Series(SMALL, SMOKE_RECIPE, (32,), (1, 2), pairs=2),),
            num_points=5,
        ),
        "desk": Config(),
        "paper": Config(published_depths(deep=True), num_points=25),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
