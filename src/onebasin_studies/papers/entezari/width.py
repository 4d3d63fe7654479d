"""Entezari et al., Figures 2 and 19: the barrier against the width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.charts import barrier_picture, barrier_table, series_of
from onebasin_studies.papers.entezari.settings import (
    CIFAR10_SAMPLE,
    CIFAR10_SAMPLE_RECIPE,
    SMALL,
    SMOKE_RECIPE,
    Series,
    measured_pairs,
    powers,
    published_widths,
)
from onebasin_studies.runtime.statistics import Summary, select, summarize
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

DEEP = ("vgg", "resnet")
FEWEST_PAIRS, FEWEST_WIDTHS = 3, 4
FITTED = 0.01
"""Maximum training error of a network that fits its data."""

NEAR = 4
"""Maximum factor between the peak and the narrowest width that fits."""


@dataclass(frozen=True)
class Config:
    """The networks and the number of points of a curve.

    Small scale takes about 45 core-minutes: 10 for training on MNIST, 24 for training on CIFAR-10,
    and 11 for the curves.
    """

    series: Sequence[Series] = (
        Series("mnist", widths=powers(2, 10), pairs=10),
        Series(CIFAR10_SAMPLE, CIFAR10_SAMPLE_RECIPE, powers(2, 10), pairs=3),
    )
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return the barriers of every pair."""
    return measured_pairs(config.series, config.num_points)


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """Train-loss barriers rise and fall with the width; those of networks with BatchNorm stay high.

    A curve rises and falls if the lower end of the interval of its highest mean exceeds the mean
    barriers of the narrowest and the widest networks. Its peak must be within a factor of 4 of the
    narrowest width with a training error of at most 1 %. A curve stays high if the widest networks
    have at least half of the highest mean. A curve without BatchNorm counts only if its narrowest
    networks do not fit the data and some wider ones do; otherwise one side was not measured. Curves
    that do not count are named.
    """
    train = series_of(select(rows, split="train"))
    evaluable = {label: _evaluate_claim(part) for label, part in train.items() if _suffices(part)}
    if not evaluable:
        return Verdict.inconclusive(
            f"No series has {FEWEST_WIDTHS} widths with {FEWEST_PAIRS} pairs each, the narrowest "
            f"of which does not fit its data and some of which do ({FITTED:.0%} training error)."
        )
    text = " ".join(f"{label}: {sentence}" for label, (_, sentence) in evaluable.items())
    others = [label for label in train if label not in evaluable]
    text += f" Not evaluated: {', '.join(others)}." if others else ""
    return Verdict.of(all(holds for holds, _ in evaluable.values()), text)


def _suffices(rows: Sequence[Row]) -> bool:
    means = summarize(rows, "barrier", by=["width"])
    if len(means) < FEWEST_WIDTHS or any(mean.n < FEWEST_PAIRS for mean in means):
        return False
    is_deep = rows[0]["family"] in DEEP
    return is_deep or _narrowest_fitting(rows) not in (None, means[0].group["width"])


def _evaluate_claim(rows: Sequence[Row]) -> tuple[bool, str]:
    means = summarize(rows, "barrier", by=["width"])
    peak = max(means, key=lambda each: each.mean)
    first, last = means[0], means[-1]
    text = (
        f"mean train-loss barrier {first.mean:.3f} at width {first.group['width']}, "
        f"{peak.mean:.3f} at width {peak.group['width']}, {last.mean:.3f} at width "
        f"{last.group['width']}"
    )
    if rows[0]["family"] in DEEP:
        return last.mean >= peak.mean / 2, f"{text}; it must stay above half of the highest."
    falls = peak.low > max(first.mean, last.mean)
    fitting = _narrowest_fitting(rows)
    assert fitting is not None, "this curve does not count"
    is_near = 1 / NEAR <= peak.group["width"] / fitting <= NEAR
    return falls and is_near, f"{text}; width {fitting} is the narrowest that fits the data."


def _narrowest_fitting(rows: Sequence[Row]) -> int | None:
    errors: list[Summary] = summarize(rows, "error_a", by=["width"])
    return next((each.group["width"] for each in errors if each.mean <= FITTED), None)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the barriers on both splits against the width."""
    return [barrier_picture(rows, "width", split) for split in ("train", "test")]


def table(rows: Sequence[Row]) -> Table:
    """Return the barriers of every width."""
    return barrier_table(rows, "width")


STUDY = Study(
    name="width",
    paper=PAPER,
    item="Figures 2 and 19",
    claim="The barrier rises with the width, is highest where networks just fit the training set, "
    "and falls for wider networks. For VGG and ResNet, it is high at every width.",
    scales={
        "smoke": Config((Series(SMALL, SMOKE_RECIPE, (4, 32), pairs=2),), num_points=5),
        "small": Config(),
        "paper": Config(published_widths(deep=True), num_points=25),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
