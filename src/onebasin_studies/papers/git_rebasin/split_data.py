"""Git Re-Basin, Figure 5: merging of networks trained on different parts of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from onebasin_studies.papers.git_rebasin import PAPER
from onebasin_studies.papers.git_rebasin.barriers import by_setting, paired
from onebasin_studies.papers.git_rebasin.settings import (
    CIFAR_MLP_SMALL,
    MNIST_MLP_SMALL,
    SMOKE,
    Setting,
    residual,
)
from onebasin_studies.runtime.drawing import draw_means, legend_below, panels
from onebasin_studies.runtime.statistics import grouped, select, summarize, summary, values_of
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks import measure_curve
from onebasin_studies.tasks.merging import compare_networks, merge_networks

LEAST_PAIRS = 3
A, B, MERGED, ALL = "A", "B", "merged", "all data"
ENSEMBLE, UNMATCHED = "probabilities", "weights"
DIFFERENCES = (
    (A, MERGED, "loss"),
    (B, MERGED, "loss"),
    (MERGED, ENSEMBLE, "loss"),
    (A, MERGED, "ece"),
    (B, MERGED, "ece"),
)
"""Columns with the candidate that must have the higher value and the one with the lower value."""

WORDS: Mapping[str, str] = {
    A: "A alone",
    B: "B alone",
    MERGED: "merged",
    ENSEMBLE: "ensemble",
    UNMATCHED: "merged unmatched",
    ALL: "trained on all data",
}


@dataclass(frozen=True)
class Config:
    """Pairs of networks, each trained on its part of the data.

    Args:
        settings: settings by their names in rows and figures; the first one is evaluated.
        share: fraction of the first half of the classes in the part of A, and of the second half in
            the part of B.
        num_pairs: number of pairs, each with its own split.
        num_points: number of points of each line.
        num_bins: number of confidence bins.
    """

    settings: Mapping[str, Setting]
    share: float = 0.2
    num_pairs: int = 3
    num_points: int = 25
    num_bins: int = 15


def tasks(config: Config) -> list[Task]:
    """Return for each pair two curves on the test set, and a comparison of all candidates."""
    targets = []
    for number, (name, setting) in enumerate(config.settings.items()):
        for pair in range(config.num_pairs):
            labels = {"setting": name, "evaluable": number == 0, "pair": pair}
            pair_tasks = _pair_tasks(setting, config, pair)
            targets += [task.with_labels(**labels) for task in pair_tasks]
    return targets


def _pair_tasks(setting: Setting, config: Config, pair: int) -> list[Task]:
    split = {"fraction": config.share, "seed": pair}
    seeds = (2 * pair, 2 * pair + 1)
    a, b = (
        setting.networks([seed], part={**split, "number": number})[0]
        for number, seed in enumerate(seeds)
    )
    (everything,) = setting.networks(seeds[:1])
    moved = setting.moved(a, b)
    merged = Task.of(merge_networks, **setting.matching, members=[a, moved])
    comparison = Task.of(
        compare_networks,
        **setting.matching,
        members=[a, b],
        names=[A, B],
        others=[merged, everything],
        other_names=[MERGED, ALL],
        num_bins=config.num_bins,
    )
    line = {**setting.matching, "splits": ["test"], "num_points": config.num_points}
    curves = [
        Task.of(measure_curve, **line, a=a, b=end).with_labels(row="point", name=name)
        for name, end in ((UNMATCHED, b), (MERGED, moved))
    ]
    return [comparison, *curves]


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """The merged network has a lower test loss than A and B, and is better calibrated.

    Its test loss is higher than that of the ensemble. In the first setting, the 95 % interval of
    each paired difference lies above 0, over at least three pairs. Calibration is the expected
    calibration error.
    """
    evaluable = select(rows, row="candidate", evaluable=True)
    names = (A, B, MERGED, ENSEMBLE)
    candidates = {name: select(evaluable, name=name) for name in names}
    if min(map(len, candidates.values())) < LEAST_PAIRS:
        return Verdict.inconclusive("Fewer than three pairs were trained on parts of the data.")
    loss, ece = (
        {name: summary(values_of(part, column)).mean for name, part in candidates.items()}
        for column in ("loss", "ece")
    )
    listing = ", ".join(f"{WORDS[n]} {loss[n]:.3f} (ECE {ece[n]:.1%})" for n in names)
    text = f"{evaluable[0]['setting']}, mean test loss of {len(candidates[A])} pairs: {listing}."
    steps = [
        summary(paired(candidates[more], candidates[less], column))
        for more, less, column in DIFFERENCES
    ]
    unsure = [
        f"{column} of {WORDS[more]} minus that of {WORDS[less]} ({step.low:.3f} to {step.high:.3f})"
        for (more, less, column), step in zip(DIFFERENCES, steps, strict=True)
        if not step.low > 0
    ]
    text += f" Not above 0 (paired): {'; '.join(unsure)}." if unsure else ""
    return Verdict.of(not unsure, text)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw for each setting the test loss along the line, and a reliability diagram."""
    pictures = []
    for name, part in by_setting(rows).items():
        pictures += [_losses(name, part), _reliability(name, part)]
    return pictures


def _losses(setting: str, rows: Sequence[Row]) -> Picture:
    figure, (ax,) = panels()
    for name in (UNMATCHED, MERGED):
        curve = summarize(select(rows, row="point", name=name), "loss", by=["alpha"])
        draw_means(ax, curve, "alpha", label=_line(name), markersize=2)
    means = _means(rows, "loss")
    for name, style in ((ENSEMBLE, "--"), (ALL, ":")):
        if name in means:
            ax.axhline(means[name], linestyle=style, color="black", label=WORDS[name])
    if means:
        # Unmatched barriers may be so high that they hide the other curves.
        ax.set_ylim(0, 2 * max(means[A], means[B]))
    ax.set_title(setting)
    ax.set_xlabel("α (0 is B, 1 is A)")
    ax.set_ylabel("test loss")
    legend_below(ax)
    listing = ", ".join(f"{WORDS[name]} {value:.3g}" for name, value in means.items())
    alt = f"Test loss along the line from B to A, {setting}. Mean test losses: {listing or 'none'}."
    return Picture(f"loss-{_slug(setting)}", figure, alt, CAPTION)


CAPTION = "Means over pairs with their 95 % intervals; values far above both endpoints are cut off."


def _line(name: str) -> str:
    return "matched" if name == MERGED else "unmatched"


def _means(rows: Sequence[Row], value: str) -> dict[str, float]:
    """Return the mean over pairs by candidate."""
    means = summarize(select(rows, row="candidate"), value, by=["name"])
    return {s.group["name"]: s.mean for s in means if s.group["name"] in WORDS}


def _reliability(setting: str, rows: Sequence[Row]) -> Picture:
    figure, (ax,) = panels()
    bins = select(rows, row="bin")
    for name in (A, B, MERGED, ENSEMBLE):
        points = _diagram(select(bins, name=name))
        ax.plot(*zip(*points, strict=True), marker="o", label=WORDS[name]) if points else None
    ax.plot([0, 1], [0, 1], linestyle="--", color="black", linewidth=1)
    ax.set_title(setting)
    ax.set_xlabel("confidence")
    ax.set_ylabel("accuracy")
    ax.legend(frameon=False)
    listing = ", ".join(f"{WORDS[name]} {value:.1%}" for name, value in _means(rows, "ece").items())
    alt = (
        f"Accuracy against confidence, {setting}. Expected calibration errors: {listing or 'none'}."
    )
    caption = "Answers of all pairs, by confidence; on the dashed line they are calibrated."
    return Picture(f"calibration-{_slug(setting)}", figure, alt, caption)


def _diagram(bins: Sequence[Row]) -> list[tuple[float, float]]:
    """Return mean confidence and accuracy of each bin, over all pairs."""
    diagram = []
    for part in grouped(bins, "low").values():
        count = sum(row["count"] for row in part)
        points = (
            sum(row["count"] * row[column] for row in part) / count
            for column in ("confidence", "accuracy")
        )
        diagram.append(tuple(points))
    return diagram


def _slug(name: str) -> str:
    return "-".join(name.lower().split())


def table(rows: Sequence[Row]) -> Table:
    """Return test loss, error and calibration of each candidate."""
    header = ("setting", "network", "runs for an answer", "test loss", "test error", "ECE")
    body = []
    for setting, part in by_setting(select(rows, row="candidate")).items():
        for name, word in WORDS.items():
            own = select(part, name=name)
            cells = [summarize(own, column) for column in ("loss", "error", "ece")]
            runs = own[0]["networks"] if own else ""
            body.append((setting, word, runs, *(s[0] if s else "" for s in cells)))
    return Table(header, body, "Mean over pairs ± half the 95 % interval.")


CIFAR_SHORT = replace(CIFAR_MLP_SMALL, recipe={**CIFAR_MLP_SMALL.recipe, "epochs": 10}, keep=())
"""Without augmentation and weight decay an MLP overfits its part after more epochs."""

STUDY = Study(
    name="split-data",
    paper=PAPER,
    item="Figure 5",
    claim="Networks trained on different parts of the data merge into one with a lower test loss "
    "and better calibration than both, but a higher loss than their ensemble.",
    scales={
        "smoke": Config(SMOKE, num_points=5, num_bins=10),
        "small": Config({"MLP on CIFAR-10": CIFAR_SHORT, "MLP on MNIST": MNIST_MLP_SMALL}),
        "paper": Config({"ResNet20 32x on CIFAR-100": residual("cifar100", 32)}),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
