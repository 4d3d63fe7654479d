"""Git Re-Basin, Figure 4: the barrier between matched networks against their width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2
from typing import Any

from onebasin.studies.drawing import draw_means, panels, told
from onebasin.studies.git_rebasin import PAPER
from onebasin.studies.git_rebasin.settings import (
    DIGITS_MLP,
    MNIST_MLP_DESK,
    Setting,
    in_pairs,
    residual,
    seeds_of,
    vgg,
)
from onebasin.studies.statistics import Slope, grouped, select, slope, summarise, summary, values_of
from onebasin.studies.study import Picture, Row, Study, Table, Verdict
from onebasin.studies.task import Task

LEAST_PAIRS, LEAST_WIDTHS = 2, 3
SHARE = 0.1
STATES = ("matched", "unmatched")


@dataclass(frozen=True)
class Config:
    """Networks of several widths.

    Args:
        settings: by the name of the family, settings by their width.
        num_pairs: of each width.
        num_points: of each line.
    """

    settings: Mapping[str, Mapping[str, Setting]]
    num_pairs: int = 3
    num_points: int = 25


def tasks(config: Config) -> list[Task]:
    """Return a barrier per family, width and pair, before and after weight matching."""
    wanted = []
    for family, settings in config.settings.items():
        for width, setting in settings.items():
            networks = setting.networks(seeds_of(config.num_pairs))
            for pair, (a, b) in enumerate(in_pairs(networks)):
                moved = setting.moved(a, b)
                labels: dict[str, Any] = {"family": family, "width": float(width), "pair": pair}
                for state, end in zip(STATES, (moved, b), strict=True):
                    barrier = setting.barrier(a, end, config.num_points)
                    wanted.append(barrier.labelled(**labels, state=state))
    return wanted


def verdict(rows: Sequence[Row]) -> Verdict:
    """In every family, matched train-loss barriers fall with the width, towards 0.

    Their slope against the log2 of the width has a 95 % interval below 0, and at the largest
    width their mean is at most a tenth of that of unmatched ones. At least three widths of at
    least two pairs.
    """
    parts, holds = [], True
    for (family,), part in grouped(select(rows, split="train"), "family").items():
        trend, share = _trend(part), _share(part)
        if trend is None or share is None:
            return Verdict.too_little(f"{family}: fewer than three widths of two pairs.")
        holds &= trend.high < 0 and share <= SHARE
        parts.append(
            f"{family}: slope {trend.slope:.3f} ({trend.low:.3f} to {trend.high:.3f}) per doubling "
            f"of the width; at the largest, {share:.1%} of the unmatched barrier"
        )
    if not parts:
        return Verdict.too_little("Nothing was measured.")
    return Verdict.of(holds, f"Matched train-loss barrier, {'; '.join(parts)}.")


def _trend(rows: Sequence[Row]) -> Slope | None:
    matched = select(rows, state="matched")
    by_width = grouped(matched, "width")
    if len(by_width) < LEAST_WIDTHS or min(map(len, by_width.values())) < LEAST_PAIRS:
        return None
    return slope([log2(row["width"]) for row in matched], [row["barrier"] for row in matched])


def _share(rows: Sequence[Row]) -> float | None:
    """Return the matched mean barrier at the largest width, as a share of the unmatched one."""
    widest = select(rows, width=max(row["width"] for row in rows))
    means = [values_of(select(widest, state=state), "barrier") for state in STATES]
    if not all(means):
        return None
    matched, unmatched = (summary(values).mean for values in means)
    return matched / unmatched if unmatched > 0 else None


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw barriers against the width for each family."""
    return [_figure(name, part) for (name,), part in grouped(rows, "family").items()]


def _figure(family: str, rows: Sequence[Row]) -> Picture:
    figure, (ax,) = panels()
    words = []
    for state in STATES:
        part = select(rows, state=state)
        train = summarise(select(part, split="train"), "barrier", by=["width"])
        test = summarise(select(part, split="test"), "barrier", by=["width"])
        draw_means(ax, train, "width", label=state)
        style = {"color": ax.lines[-1].get_color(), "linestyle": "--", "markersize": 3}
        draw_means(ax, test, "width", **style)
        words.append(f"{state}: {told(train, 'width')}")
    ax.set_xscale("log", base=2)
    ax.set_title(family)
    ax.set_xlabel("width")
    ax.set_ylabel("loss barrier")
    ax.legend(frameon=False)
    alt = f"Loss barriers against the width, {family}. On the training set, {'; '.join(words)}."
    caption = "Solid: train; dashed: test. Means over pairs with their 95 % intervals."
    return Picture("-".join(["width", *family.lower().split()]), figure, alt, caption)


def table(rows: Sequence[Row]) -> Table:
    """Return mean barriers by family and width."""
    header = ("family", "width", "pairs", "matched, train", "matched, test", "unmatched, train")
    body = []
    for (family, width), part in grouped(rows, "family", "width").items():
        cells = [
            summarise(select(part, state=state, split=split), "barrier")
            for state, split in (("matched", "train"), ("matched", "test"), ("unmatched", "train"))
        ]
        texts = (s[0].to_text() if s else "" for s in cells)
        body.append((family, f"{width:g}", len({row["pair"] for row in part}), *texts))
    return Table(header, body, "Loss barriers: mean over pairs ± half the 95 % interval.")


def mlps(setting: Setting, widths: Sequence[int]) -> dict[str, Setting]:
    """Return a setting of MLPs at several widths; that of its own width stays what it is."""
    own = dict(setting.network) if isinstance(setting.network, Mapping) else {"name": "mlp"}
    own_width = own.get("width", 512)
    return {
        str(width): replace(setting, network={**own, "width": width}, cost=(width / 512) ** 2)
        if width != own_width
        else setting
        for width in widths
    }


STUDY = Study(
    name="width-matched",
    paper=PAPER,
    item="Figure 4",
    claim="The loss barrier between matched networks goes to zero as they get wider.",
    scales={
        "smoke": Config({"MLP on digits": mlps(DIGITS_MLP, (8, 32, 128))}, num_points=5),
        "desk": Config(
            {"MLP on MNIST": mlps(MNIST_MLP_DESK, (8, 16, 32, 64, 128, 256, 512))}, num_points=11
        ),
        "paper": Config(
            {
                "VGG16 on CIFAR-10 (×64)": {
                    str(w): vgg("cifar10", w) for w in (0.125, 0.25, 0.5, 1, 2, 4)
                },
                "ResNet20 on CIFAR-10 (×16)": {
                    str(w): residual("cifar10", w) for w in (1, 2, 4, 8, 16, 32)
                },
            }
        ),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
