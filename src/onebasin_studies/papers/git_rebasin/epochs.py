"""Git Re-Basin, Figure 3: the barrier between matched networks during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onebasin_studies.papers.git_rebasin import PAPER
from onebasin_studies.papers.git_rebasin.barriers import by_setting, paired
from onebasin_studies.papers.git_rebasin.settings import (
    CIFAR_MLP_SGD_SMALL,
    PAPER_MLPS,
    SMALL,
    SMOKE,
    Pairs,
    at_epoch,
    in_pairs,
    seeds_of,
)
from onebasin_studies.runtime.drawing import describe_means, draw_means, panels
from onebasin_studies.runtime.statistics import grouped, select, summarize, summary
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

LEAST_PAIRS = 3
STATES = ("matched", "unmatched")


def tasks(config: Pairs) -> list[Task]:
    """Return one barrier per setting, pair and epoch, before and after weight matching."""
    targets = []
    for number, (name, setting) in enumerate(config.settings.items()):
        trained = setting.trained(seeds_of(config.num_pairs))
        epochs = sorted({*setting.keep, setting.last_epoch})
        for pair, both in enumerate(in_pairs(trained)):
            for epoch in epochs:
                a, b = (at_epoch(task, epoch) for task in both)
                moved = setting.moved(a, b)
                labels: dict[str, Any] = {"setting": name, "evaluable": number == 0}
                for state, end in zip(STATES, (moved, b), strict=True):
                    barrier = setting.barrier(a, end, config.num_points)
                    targets.append(
                        barrier.with_labels(**labels, pair=pair, epoch=epoch, state=state)
                    )
    return targets


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """The matched train-loss barrier is lower after the last epoch than after the first.

    In every setting the 95 % interval of the paired difference lies above 0, over at least three
    pairs.
    """
    parts, holds = [], True
    for name, part in by_setting(select(rows, state="matched", split="train")).items():
        fallen = _fallen(part)
        if len(fallen) < LEAST_PAIRS:
            return Verdict.inconclusive(f"{name}: fewer than three pairs at two epochs.")
        difference, means = summary(fallen), summarize(part, "barrier", by=["epoch"])
        holds &= difference.low > 0
        change = summary([-fall for fall in fallen]).to_text()
        parts.append(
            f"{name}: {describe_means(means, 'epoch')}; from the first to the last it changes "
            f"by {change} ({len(fallen)} pairs)"
        )
    if not parts:
        return Verdict.inconclusive("Nothing was measured.")
    return Verdict.of(holds, f"Matched train-loss barrier. {'. '.join(parts)}.")


def _fallen(rows: Sequence[Row]) -> list[float]:
    """Return the fall of the barrier of each pair from the first epoch to the last."""
    by_epoch = list(grouped(rows, "epoch").values())
    return paired(by_epoch[0], by_epoch[-1], "barrier") if len(by_epoch) > 1 else []


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw barriers against epochs for each setting: matched above, unmatched below."""
    return [_figure(name, part) for name, part in by_setting(rows).items()]


def _figure(name: str, rows: Sequence[Row]) -> Picture:
    figure, axes = panels(2, height=2.6)
    words = []
    for ax, state in zip(axes, STATES, strict=True):
        part = select(rows, state=state)
        for split, line in (("train", "-"), ("test", "--")):
            means = summarize(select(part, split=split), "barrier", by=["epoch"])
            draw_means(ax, means, "epoch", label=split, linestyle=line)
            words.append(f"{state}, {split}: {describe_means(means, 'epoch')}")
        ax.set_xscale("log")
        epochs = sorted({row["epoch"] for row in part})
        ax.set_xticks(epochs, map(str, epochs))
        ax.set_xticks([], minor=True)
        ax.set_title(f"{name}, {state}")
        ax.set_ylabel("loss barrier")
        ax.legend(frameon=False)
    axes[-1].set_xlabel("epochs of training")
    alt = f"Loss barriers against epochs of training, {name}. {'; '.join(words)}."
    return Picture("-".join(["epochs", *name.lower().split()]), figure, alt, CAPTION)


CAPTION = "Means over pairs with their 95 % intervals; the two panels have different scales."


def table(rows: Sequence[Row]) -> Table:
    """Return mean barriers by setting and epoch, with the loss of the networks."""
    header = ("setting", "epoch", "train loss of A", "matched, train", "matched, test", "unmatched")
    body = []
    by_epoch = {
        (name, epoch): part
        for name, of_setting in by_setting(rows).items()
        for (epoch,), part in grouped(of_setting, "epoch").items()
    }
    for (name, epoch), part in by_epoch.items():
        loss = summarize(select(part, split="train"), "loss_a")
        cells = [
            summarize(select(part, state=state, split=split), "barrier")
            for state, split in (("matched", "train"), ("matched", "test"), ("unmatched", "train"))
        ]
        body.append((name, epoch, *(s[0] if s else "" for s in (loss, *cells))))
    return Table(header, body, "Loss barriers: mean over pairs ± half the 95 % interval.")


STUDY = Study(
    name="epochs",
    paper=PAPER,
    item="Figure 3",
    claim="The loss barrier between matched networks falls during training.",
    scales={
        "smoke": Pairs(SMOKE, num_points=5),
        "small": Pairs({**SMALL, "MLP on CIFAR-10, SGD": CIFAR_MLP_SGD_SMALL}, num_points=11),
        "paper": Pairs(PAPER_MLPS),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
