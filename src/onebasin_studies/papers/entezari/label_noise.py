"""Entezari et al., Figure 16: barriers with label noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.charts import mean_text
from onebasin_studies.papers.entezari.settings import (
    MNIST_MLP,
    SMALL,
    SMALL_RECIPE,
    SMOKE_RECIPE,
    Series,
    points_of,
    powers,
)
from onebasin_studies.runtime.drawing import describe_means, draw_means, panels, size_axis
from onebasin_studies.runtime.statistics import grouped, select, slope, summarize
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

FEWEST_PAIRS, FEWEST_WIDTHS = 3, 4
CORRELATION = 0.5
PANELS = (
    ("loss_a", "train", "training loss"),
    ("error_a", "test", "test error"),
    ("barrier", "train", "train loss barrier"),
)


@dataclass(frozen=True)
class Config:
    """Clean data, widths and fractions of wrong labels.

    Small scale takes about 25 core-minutes, 20 of them for training.

    Args:
        data: options of a dataset without noise.
        recipe: hyperparameters of the training.
        widths: widths of MLPs with one hidden layer.
        shares: fractions of wrong training labels; 0 is the reference.
        runs: number of pairs of each width and fraction.
        num_points: number of points of each curve.
    """

    data: Mapping[str, Any] = field(
        default_factory=lambda: {
            "name": "mnist",
            "max_train_examples": 10_000,
            "max_test_examples": 2000,
        }
    )
    recipe: Mapping[str, Any] = field(default_factory=lambda: {**SMALL_RECIPE, "epochs": 100})
    widths: Sequence[int] = powers(2, 10)
    shares: Sequence[float | int] = (0.0, 0.2)
    runs: int = 5
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return the barriers of every pair, on the data of its training."""
    clean = Series(dict(config.data), config.recipe, config.widths, pairs=config.runs)
    by_share = {
        share: replace(clean, data={**config.data, "label_noise": share}) if share else clean
        for share in config.shares
    }
    return [
        measure.with_labels(noise=share, pair=number)
        for share, series in by_share.items()
        for point in points_of([series])
        for number, (a, b) in enumerate(point.pairs())
        for measure in point.barriers(a, b, config.num_points)
    ]


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """With wrong labels the curve of barriers has the same shape, and is higher on average.

    For each noise level the mean train-loss barriers correlate with those of clean data over the
    widths at 0.5 or more. Both curves have their maximum between the narrowest and the widest
    networks. The mean over all widths is higher with noise, but at most twice as high.
    """
    train = select(rows, split="train")
    curves = {noise: _curve(part) for (noise,), part in grouped(train, "noise").items()}
    clean = curves.pop(0, {})
    noisy = {noise: curve for noise, curve in curves.items() if curve.keys() == clean.keys()}
    if len(clean) < FEWEST_WIDTHS or not noisy:
        return Verdict.inconclusive(
            f"Fewer than {FEWEST_WIDTHS} widths have {FEWEST_PAIRS} pairs with and without noise."
        )
    evaluable = [_evaluate_claim(clean, curve, noise) for noise, curve in noisy.items()]
    return Verdict.of(all(holds for holds, _ in evaluable), " ".join(text for _, text in evaluable))


def _curve(rows: Sequence[Row]) -> Mapping[int, float]:
    means = summarize(rows, "barrier", by=["width"])
    return {each.group["width"]: each.mean for each in means if each.n >= FEWEST_PAIRS}


def _evaluate_claim(
    clean: Mapping[int, float], noisy: Mapping[int, float], noise: float
) -> tuple[bool, str]:
    correlation = slope(list(clean.values()), list(noisy.values())).correlation
    peaks = [max(curve, key=curve.__getitem__) for curve in (clean, noisy)]
    levels = [sum(curve.values()) / len(curve) for curve in (clean, noisy)]
    is_inner = all(min(clean) < peak < max(clean) for peak in peaks)
    holds = is_inner and correlation >= CORRELATION and levels[0] < levels[1] <= 2 * levels[0]
    return holds, (
        f"With {noise:.0%} wrong labels the mean train-loss barrier over all widths is "
        f"{levels[1]:.3f}, without {levels[0]:.3f}; the curves correlate at {correlation:.2f} and "
        f"are highest at widths {peaks[1]} and {peaks[0]}."
    )


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw loss, error and barrier against the width, one line per noise level."""
    figure, axes = panels(len(PANELS), height=2.8)
    words = []
    for ax, (column, split, name) in zip(axes, PANELS, strict=True):
        for (noise,), part in grouped(select(rows, split=split), "noise").items():
            means = summarize(part, column, by=["width"])
            draw_means(ax, means, "width", label=f"{noise:.0%} wrong labels")
            words.append(f"{name} with {noise:.0%} wrong labels: {describe_means(means, 'width')}")
        size_axis(ax, "width", [row["width"] for row in rows])
        ax.set_ylabel(name)
    if rows:
        axes[0].legend(frameon=False)
    alt = f"Loss, error and barrier against the width. {'; '.join(words)}."
    return [Picture("noise", figure, alt, "Means over pairs, with their 95 % intervals.")]


def table(rows: Sequence[Row]) -> Table:
    """Return loss, error and barrier of every width and noise level."""
    header = ("wrong labels", "width", "pairs", *(name for _, _, name in PANELS), "test barrier")
    body = []
    for (noise, width), part in grouped(rows, "noise", "width").items():
        cells = [mean_text(select(part, split=split), column) for column, split, _ in PANELS]
        test = mean_text(select(part, split="test"), "barrier")
        body.append((f"{noise:.0%}", width, len(select(part, split="train")), *cells, test))
    return Table(
        header, body, "Mean over pairs ± half of the 95 % interval; all test labels are right."
    )


STUDY = Study(
    name="label-noise",
    paper=PAPER,
    item="Figure 16",
    claim="With wrong labels, the barrier depends on the width in the same way as with clean "
    "labels, and is slightly higher.",
    scales={
        "smoke": Config({"name": SMALL, "max_train_examples": 400}, SMOKE_RECIPE, (4, 32), runs=2),
        "small": Config(),
        "paper": Config({"name": "mnist"}, MNIST_MLP, powers(2, 15), num_points=25),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
