"""Git Re-Basin, Figure 4: the barrier between matched networks against their width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, log2
from typing import TYPE_CHECKING, Any

from onebasin_studies.papers.git_rebasin import PAPER
from onebasin_studies.papers.git_rebasin.settings import (
    DIGITS_MLP,
    MNIST_MLP_SMALL,
    Setting,
    in_pairs,
    residual,
    seeds_of,
    vgg,
)
from onebasin_studies.runtime.drawing import describe_means, draw_means, panels, size_axis
from onebasin_studies.runtime.statistics import (
    Slope,
    Summary,
    grouped,
    select,
    slope,
    summarize,
    summary,
    values_of,
)
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_PAIRS, LEAST_WIDTHS = 3, 3
SHARE, LEAST_SHARE, TINY = 0.1, 1e-3, 1e-12
STATES = ("matched", "unmatched")


@dataclass(frozen=True)
class Config:
    """Networks of several widths.

    Args:
        settings: settings by width, for each family.
        num_pairs: number of pairs of each width.
        num_points: number of points of each line.
    """

    settings: Mapping[str, Mapping[str, Setting]]
    num_pairs: int = 3
    num_points: int = 25


def tasks(config: Config) -> list[Task]:
    """Return one barrier per family, width and pair, before and after weight matching."""
    targets = []
    for family, settings in config.settings.items():
        for width, setting in settings.items():
            networks = setting.networks(seeds_of(config.num_pairs))
            for pair, (a, b) in enumerate(in_pairs(networks)):
                moved = setting.moved(a, b)
                labels: dict[str, Any] = {"family": family, "width": float(width), "pair": pair}
                for state, end in zip(STATES, (moved, b), strict=True):
                    barrier = setting.barrier(a, end, config.num_points)
                    targets.append(barrier.with_labels(**labels, state=state))
    return targets


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """In every family, matched train-loss barriers fall towards 0 with the width.

    Over the wider half of the widths (at least three), the slope of the logarithm of the barrier
    against the logarithm of the width has a 95 % interval below 0. At the largest width the upper
    end of the interval of the mean is at most a tenth of the unmatched mean. Barriers below a
    thousandth of the unmatched ones of their width count as a thousandth. At least three widths
    with three pairs are needed, and all barriers must be finite.
    """
    parts, holds = [], True
    for (family,), part in grouped(select(rows, split="train"), "family").items():
        if lack := _lack(part):
            return Verdict.inconclusive(f"{family}: {lack}.")
        first, trend = _trend(part)
        matched, unmatched = _ends(part)
        holds &= trend.high < 0 and matched.high <= SHARE * unmatched.mean
        parts.append(
            f"{family}: from width {first:g} on it scales with the width to the power of "
            f"{trend.slope:.2f} ({trend.low:.2f} to {trend.high:.2f}); at the largest it is "
            f"{matched}, unmatched {unmatched}"
        )
    if not parts:
        return Verdict.inconclusive("Nothing was measured.")
    return Verdict.of(holds, f"Matched train-loss barrier, {'; '.join(parts)}.")


def _lack(rows: Sequence[Row]) -> str:
    """Return what is missing for a family, or ""."""
    if not all(isfinite(row["barrier"]) for row in rows):
        return "a barrier is not finite"
    counts = [
        len(select(part, state=state))
        for part in grouped(rows, "width").values()
        for state in STATES
    ]
    is_little = len(counts) < LEAST_WIDTHS * len(STATES) or min(counts) < LEAST_PAIRS
    return "fewer than three widths of three pairs" if is_little else ""


def _trend(rows: Sequence[Row]) -> tuple[float, Slope]:
    """Return the smallest of the wider widths, and the logarithmic slope from there on."""
    by_width = {width: part for (width,), part in grouped(rows, "width").items()}
    wide = list(by_width)[-max(LEAST_WIDTHS, -(-len(by_width) // 2)) :]
    points = [
        (log2(width), log2(max(row["barrier"], LEAST_SHARE * _mean(by_width[width], "unmatched"))))
        for width in wide
        for row in select(by_width[width], state="matched")
    ]
    return wide[0], slope([x for x, _ in points], [y for _, y in points])


def _mean(rows: Sequence[Row], state: str) -> float:
    """Return a mean barrier, with a positive lower limit for the logarithm."""
    return max(summary(values_of(select(rows, state=state), "barrier")).mean, TINY)


def _ends(rows: Sequence[Row]) -> list[Summary]:
    """Return the barriers at the largest width, matched and unmatched."""
    widest = select(rows, width=max(row["width"] for row in rows))
    return [summary(values_of(select(widest, state=state), "barrier")) for state in STATES]


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw barriers against the width for each family: linear above, logarithmic below."""
    return [_figure(name, part) for (name,), part in grouped(rows, "family").items()]


def _figure(family: str, rows: Sequence[Row]) -> Picture:
    figure, axes = panels(2, height=2.8)
    for ax in axes:
        _draw(ax, rows)
    axes[0].set_title(family)
    axes[0].legend(frameon=False)
    axes[1].set_yscale("log")
    words = [
        f"{state}: {describe_means(_means(select(rows, state=state), 'train'), 'width')}"
        for state in STATES
    ]
    alt = f"Loss barriers against the width, {family}. On the training set, {'; '.join(words)}."
    caption = (
        "Solid: train; dashed: test. Means over pairs with their 95 % intervals; below, the same "
        "on a logarithmic scale."
    )
    return Picture("-".join(["width", *family.lower().split()]), figure, alt, caption)


def _draw(ax: Axes, rows: Sequence[Row]) -> None:
    for state in STATES:
        part = select(rows, state=state)
        draw_means(ax, _means(part, "train"), "width", label=state)
        style = {"color": ax.lines[-1].get_color(), "linestyle": "--", "markersize": 3}
        draw_means(ax, _means(part, "test"), "width", **style)
    size_axis(ax, "width", [row["width"] for row in rows])
    ax.set_ylabel("loss barrier")


def _means(rows: Sequence[Row], split: str) -> list[Summary]:
    return summarize(select(rows, split=split), "barrier", by=["width"])


def table(rows: Sequence[Row]) -> Table:
    """Return mean barriers by family and width."""
    header = ("family", "width", "pairs", "matched, train", "matched, test", "unmatched, train")
    body = []
    for (family, width), part in grouped(rows, "family", "width").items():
        cells = [
            summarize(select(part, state=state, split=split), "barrier")
            for state, split in (("matched", "train"), ("matched", "test"), ("unmatched", "train"))
        ]
        texts = (s[0] if s else "" for s in cells)
        body.append((family, f"{width:g}", len({row["pair"] for row in part}), *texts))
    return Table(header, body, "Loss barriers: mean over pairs ± half the 95 % interval.")


def mlps(setting: Setting, widths: Sequence[int]) -> dict[str, Setting]:
    """Return a setting of MLPs at several widths; its own width is unchanged."""
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
    claim="The loss barrier between matched networks tends to zero with increasing width.",
    scales={
        "smoke": Config({"MLP on digits": mlps(DIGITS_MLP, (8, 32, 128))}, num_points=5),
        "small": Config(
            {"MLP on MNIST": mlps(MNIST_MLP_SMALL, (8, 16, 32, 64, 128, 256, 512))}, num_points=11
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
