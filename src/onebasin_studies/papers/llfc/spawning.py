"""Spawning: the number of shared epochs that makes networks linearly connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onebasin_studies.papers.llfc import PAPER
from onebasin_studies.papers.llfc.layer_plots import features_of, slug
from onebasin_studies.papers.llfc.pairs import (
    BARRIER,
    CIFAR_SPAWNED,
    INDEPENDENT,
    MNIST_SPAWNED,
    PAPER_SPAWNED,
    SMOKE_SPAWNED,
    SPAWNED,
    Spawned,
    spawned_pairs,
)
from onebasin_studies.runtime.drawing import describe_means, draw_means, panels
from onebasin_studies.runtime.statistics import Summary, grouped, select, summarize
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

LEAST_PAIRS = 2
FALLEN = 0.1
"""Maximum remaining fraction of the barrier of independent pairs."""


@dataclass(frozen=True)
class Config:
    """Settings and numbers of shared epochs.

    Small scale takes about 90 core-minutes: 65 for training, a third of which is shared with the
    other studies, and 25 for the evaluation.

    Args:
        settings: settings by their names in rows and figures.
        shared: numbers of shared epochs, increasing; 0 (independent pairs) is always included.
        num_pairs: number of pairs of each.
        num_points: number of points of each line.
    """

    settings: Mapping[str, Spawned]
    shared: tuple[int, ...]
    num_pairs: int = 3
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return barriers and LLFC by shared epochs; independent pairs combine the first ones."""
    tasks = []
    for name, setting in config.settings.items():
        for shared in config.shared:
            for pair in spawned_pairs(name, setting, config.num_pairs, shared):
                kind = pair.labels["kind"]
                if kind == INDEPENDENT and shared != config.shared[0]:
                    continue
                measures = (pair.barrier(config.num_points), pair.features("llfc", [0.5]))
                labels = {"shared": shared if kind == SPAWNED else 0}
                tasks += [task.with_labels(**labels) for task in measures]
    return tasks


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """In every setting barriers fall with the number of shared epochs, nearly to 0.

    The mean test-error barrier at the most shared epochs is at most a tenth of that of independent
    pairs. At every number of shared epochs it is below that of independent pairs. Each needs at
    least two pairs.
    """
    parts, holds = [], True
    for (name,), part in grouped(select(rows, quantity=BARRIER), "setting").items():
        means = summarize(part, "error_barrier", ["shared"])
        by_shared = {s.group["shared"]: s for s in means if s.n >= LEAST_PAIRS}
        if 0 not in by_shared or len(by_shared) < 2:
            continue
        none, most = by_shared[0].mean, max(by_shared)
        later = [s.mean for shared, s in by_shared.items() if shared]
        holds &= by_shared[most].mean <= FALLEN * none and max(later) < none
        parts.append(f"{name}: {none:.4f} independent, {_after(by_shared)}")
    if not parts:
        return Verdict.inconclusive("No setting has two independent and two spawned pairs.")
    text = f"Barrier of the test error by shared epochs. {'; '.join(parts)}."
    return Verdict.of(holds, f"{text} The threshold is a tenth of that of independent pairs.")


def _after(by_shared: Mapping[int, Summary]) -> str:
    return ", ".join(f"{s.mean:.4f} after {shared}" for shared, s in by_shared.items() if shared)


def departures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the mean of 1-cos over layers on the path and between the endpoints, for each pair."""
    result = []
    columns = ("setting", "shared", "pair")
    for key, part in grouped(features_of(rows), *columns).items():
        # LLFC always holds at the first layer, which is linear in the parameters.
        later = [row for row in part if row["place"]]
        means = {
            name: _mean(select(later, measure=measure))
            for name, measure in (("path", "1-cos"), ("ends", "1-cos ends"))
        }
        result.append({**dict(zip(columns, key, strict=True)), **means})
    return result


def _mean(rows: Sequence[Row]) -> float:
    return sum(row["mean"] for row in rows) / len(rows)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw barriers and LLFC against the number of shared epochs, for each setting."""
    settings = grouped(rows, "setting")
    return [_figure(name, part) for (name,), part in settings.items()]


def _figure(name: str, rows: Sequence[Row]) -> Picture:
    figure, (above, below) = panels(2, height=3)
    barriers = select(rows, quantity=BARRIER)
    means = {
        label: summarize(barriers, column, ["shared"])
        for label, column in (("loss", "barrier"), ("error", "error_barrier"))
    }
    for label, summaries in means.items():
        draw_means(above, summaries, "shared", label=label)
    above.set_ylabel("test barrier")
    parts = departures(rows)
    inside = {label: summarize(parts, label, ["shared"]) for label in ("path", "ends")}
    for label, summaries in inside.items():
        text = "path against mix" if label == "path" else "A against B"
        draw_means(below, summaries, "shared", label=text)
    below.set_ylabel("1 − E[cos], mean of layers")
    _finish(name, [above, below], means["error"])
    alt = (
        f"Barriers and 1 minus cosine against shared epochs, {name}, both falling or not as "
        f"follows. Error barrier: {describe_means(means['error'], 'shared')}. 1 minus cosine "
        f"between path and mix: {describe_means(inside['path'], 'shared')} epochs."
    )
    caption = (
        "With 0 shared epochs the initial weights differ too. Means over pairs, 95 % intervals."
    )
    return Picture(f"barriers-{slug(name)}", figure, alt, caption)


def _finish(name: str, axes: Sequence[Any], summaries: Sequence[Summary]) -> None:
    axes[0].set_title(name)
    for ax in axes:
        ax.set_xscale("symlog", linthresh=1)
        epochs = [s.group["shared"] for s in summaries]
        ax.set_xticks(epochs, [str(epoch) for epoch in epochs])
        ax.minorticks_off()
        ax.set_ylim(bottom=0)
        ax.set_xlabel("shared epochs")
        ax.legend(frameon=False)


def table(rows: Sequence[Row]) -> Table:
    """Return barriers and LLFC by setting and shared epochs."""
    header = ("setting", "shared epochs", "pairs", "loss barrier", "error barrier", "1−cos", "ends")
    inside = departures(rows)
    body = []
    for (name, shared), part in grouped(rows, "setting", "shared").items():
        of = select(inside, setting=name, shared=shared)
        means = [
            *(summarize(select(part, quantity=BARRIER), c) for c in ("barrier", "error_barrier")),
            *(summarize(of, column) for column in ("path", "ends")),
        ]
        pairs = len({row["pair"] for row in part})
        cells = (s[0] if s else "" for s in means)
        body.append((name, shared or INDEPENDENT, pairs, *cells))
    caption = "Test barriers; 1−cos of path and mix, and of A and B, at α=½, mean of later layers."
    return Table(header, body, caption)


STUDY = Study(
    name="spawning",
    paper=PAPER,
    item="Spawned pairs, after Frankle et al. 2020",
    claim="Networks that share their first epochs of training become linearly connected, although "
    "their later orders of examples differ.",
    scales={
        "smoke": Config(
            {"MLP on digits, spawned": SMOKE_SPAWNED}, shared=(1, 4), num_pairs=2, num_points=5
        ),
        "small": Config(
            {"MLP on MNIST, spawned": MNIST_SPAWNED, "VGG11 on CIFAR-10": CIFAR_SPAWNED}, (1, 2, 5)
        ),
        "paper": Config(PAPER_SPAWNED, (1, 2, 5, 10, 20, 40), num_pairs=5, num_points=25),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
