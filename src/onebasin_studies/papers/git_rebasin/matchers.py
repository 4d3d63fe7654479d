"""Git Re-Basin, Figure 2: the loss between two networks after each of three matchers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onebasin_studies.papers.git_rebasin import PAPER
from onebasin_studies.papers.git_rebasin.barriers import barriers_of, by_setting
from onebasin_studies.papers.git_rebasin.settings import (
    PAPER_MLPS,
    SMALL,
    SMOKE,
    Pairs,
    Setting,
    in_pairs,
    residual,
    seeds_of,
    vgg,
)
from onebasin_studies.runtime.drawing import draw_means, legend_below, panels
from onebasin_studies.runtime.statistics import grouped, select, summarize, summary, values_of
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks import measure_curve

UNMOVED = "none"
MATCHERS = ("weights", "activations", "straight-through")
LEAST_PAIRS = 3
SHARE = 0.05
"""Maximum fraction of the unmatched barrier that counts as no barrier."""


def tasks(config: Pairs) -> list[Task]:
    """Return one curve per setting, pair and matcher, and one without matching."""
    targets = []
    for number, (name, setting) in enumerate(config.settings.items()):
        networks = setting.networks(seeds_of(config.num_pairs))
        for pair, (a, b) in enumerate(in_pairs(networks)):
            for method, end in _ends(setting, config, a, b).items():
                curve = Task.of(
                    measure_curve, **setting.measuring, a=a, b=end, num_points=config.num_points
                )
                targets.append(
                    curve.with_labels(setting=name, evaluable=number == 0, pair=pair, method=method)
                )
    return targets


def _ends(setting: Setting, config: Pairs, a: Task, b: Task) -> dict[str, Task]:
    """Return B unmatched, and aligned by each matcher."""
    moved = {m: setting.moved(a, b, m, config.options.get(m)) for m in MATCHERS}
    return {UNMOVED: b, **moved}


def barriers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the barriers of every curve."""
    return barriers_of(rows, "setting", "method", "split", "pair")


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """In the first setting, matched mean train and test barriers are at most 5 % of unmatched ones.

    This holds for each of the three matchers, over at least three pairs. The interval of the
    unmatched barrier must lie above 0.
    """
    evaluable = select(rows, evaluable=True)
    measured = barriers(evaluable)
    parts, holds = [], True
    for split in ("train", "test"):
        naive = values_of(select(measured, split=split, method=UNMOVED), "barrier")
        matched = {
            m: values_of(select(measured, split=split, method=m), "barrier") for m in MATCHERS
        }
        if min(map(len, [naive, *matched.values()])) < LEAST_PAIRS:
            return Verdict.inconclusive("Fewer than three pairs were measured with every matcher.")
        before = summary(naive)
        means = {method: summary(values).mean for method, values in matched.items()}
        holds &= before.low > 0 and max(means.values()) <= SHARE * before.mean
        listing = ", ".join(f"{value:.4f} by {method}" for method, value in means.items())
        parts.append(f"{split}-loss barrier {before.to_text('.3f')} unmatched, {listing}")
    text = f"{evaluable[0]['setting']}, mean of {len(naive)} pairs: {'; '.join(parts)}."
    return Verdict.of(holds, f"{text} The threshold is 5 % of unmatched.")


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the loss along the line for each setting: train solid, test dashed."""
    return [_figure(name, part) for name, part in by_setting(rows).items()]


def _figure(name: str, rows: Sequence[Row]) -> Picture:
    figure, (ax,) = panels()
    for method in (UNMOVED, *MATCHERS):
        part = select(rows, method=method)
        train = summarize(select(part, split="train"), "loss", by=["alpha"])
        test = summarize(select(part, split="test"), "loss", by=["alpha"])
        if train and test:
            label = "unmatched" if method == UNMOVED else method
            draw_means(ax, train, "alpha", label=label, markersize=2)
            style = {"color": ax.lines[-1].get_color(), "linestyle": "--", "markersize": 2}
            draw_means(ax, test, "alpha", **style)
    ax.set_title(name)
    ax.set_xlabel("α (0 is B, 1 is A)")
    ax.set_ylabel("loss")
    legend_below(ax, "matched by")
    means = summarize(select(barriers(rows), split="train"), "barrier", by=["method"])
    listing = ", ".join(f"{s.mean:.3g} with matcher {s.group['method']}" for s in means)
    alt = (
        f"Train and test loss along the line from B to A, {name}. "
        f"Mean train-loss barrier: {listing}."
    )
    caption = "Solid: train; dashed: test. Means over pairs with their 95 % intervals."
    return Picture("-".join(["loss", *name.lower().split()]), figure, alt, caption)


def table(rows: Sequence[Row]) -> Table:
    """Return mean barriers by setting and matcher."""
    header = ("setting", "matcher", "pairs", "train loss", "test loss", "train error", "test error")
    body = []
    for name, of_setting in by_setting(rows).items():
        methods = grouped(barriers(of_setting), "method")
        for method in (UNMOVED, *MATCHERS):
            part = methods.get((method,), [])
            cells = [
                summary(values_of(select(part, split=split), column))
                for column in ("barrier", "error_barrier")
                for split in ("train", "test")
                if part
            ]
            if cells:
                body.append((name, method, len({row["pair"] for row in part}), *cells))
    return Table(header, body, "Barriers: mean over pairs ± half the 95 % interval.")


STE = {"straight-through": {"max_epochs": 3, "patience": 2}}

STUDY = Study(
    name="matchers",
    paper=PAPER,
    item="Figure 2",
    claim="Two MLPs trained on MNIST have no loss barrier after weight matching, activation "
    "matching or straight-through estimation.",
    scales={
        "smoke": Pairs(SMOKE, num_points=5, options=STE),
        "small": Pairs(SMALL, options=STE),
        "paper": Pairs(
            {
                **PAPER_MLPS,
                "VGG16 on CIFAR-10": vgg("cifar10", 1),
                "ResNet20 32x on CIFAR-10": residual("cifar10", 32),
            }
        ),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
