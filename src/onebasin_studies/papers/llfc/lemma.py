"""Zhou et al., Lemma 1: LLFC at the output bounds the error on the path by twice the ends'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onebasin_studies.papers.llfc import PAPER
from onebasin_studies.papers.llfc.layer_plots import PAIR, features_of, slug
from onebasin_studies.papers.llfc.pairs import APART, PAPER_CONFIG, SMALL, SMOKE, Config, measured
from onebasin_studies.runtime.drawing import draw_means, panels
from onebasin_studies.runtime.statistics import grouped, select, summarize, summary
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

ERROR, MIXED, DISAGREEMENT = "error", "error of the mix", "disagreement"
LEAST_PAIRS = 3
ROUNDING = 1e-9


@dataclass(frozen=True)
class Path:
    """The lemma on the path of one pair.

    Args:
        epsilon: the larger error of the two ends.
        ends: the sum of their errors.
        error: the largest error between them, over the alphas.
        mixed: the largest error of mixed outputs.
        disagreement: the largest share of examples on which the path and the mix disagree.
        excess: by how much the path's error exceeds what it can be at most: the ends' errors
            and the disagreement. Above 0 only where something is wrong.
    """

    epsilon: float
    ends: float
    error: float
    mixed: float
    disagreement: float
    excess: float

    @property
    def is_above(self) -> bool:
        """Whether the error on the path exceeds 2ε."""
        return self.error > 2 * self.epsilon

    @staticmethod
    def of(rows: Sequence[Row]) -> Path:
        """Return what rows of one pair say."""
        values = {(row["measure"], row["alpha"]): row["mean"] for row in rows}
        ends = [values[ERROR, 0.0], values[ERROR, 1.0]]
        alphas = sorted({alpha for _, alpha in values if 0 < alpha < 1})
        assured = {alpha: sum(ends) + values[DISAGREEMENT, alpha] for alpha in alphas}
        return Path(
            epsilon=max(ends),
            ends=sum(ends),
            error=max(values[ERROR, alpha] for alpha in alphas),
            mixed=max(values[MIXED, alpha] for alpha in alphas),
            disagreement=max(values[DISAGREEMENT, alpha] for alpha in alphas),
            excess=max(values[ERROR, alpha] - most for alpha, most in assured.items()),
        )


def tasks(config: Config) -> list[Task]:
    """Return the lemma and the barrier of every pair."""
    return measured(config, "lemma")


def paths(rows: Sequence[Row]) -> dict[tuple[Any, ...], Path]:
    """Return the lemma on the path of every pair: setting, kind, number."""
    return {pair: Path.of(part) for pair, part in grouped(rows, *PAIR).items()}


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """No spawned or matched pair has an error on its path above 2ε, nor has any pair's mix.

    Pairs are taken by how they came about: none is left out because there is a barrier between
    its networks. A setting counts where some pair apart, whose outputs are no mix, exceeds 2ε:
    elsewhere the bound says nothing. At least three spawned or matched pairs that make errors at
    all. And no pair's error exceeds its ends' errors and the disagreement of path and mix
    together, which is arithmetic: it would be a fault here.
    """
    every = paths(features_of(rows))
    settings = {pair[0] for pair, path in every.items() if pair[1] == APART and path.is_above}
    near = {
        pair: path
        for pair, path in every.items()
        if pair[1] != APART and pair[0] in settings and path.epsilon > 0
    }
    if len(near) < LEAST_PAIRS:
        return Verdict.inconclusive(
            f"{len(near)} spawned or matched pairs that make errors were measured in settings "
            "where pairs apart exceed the bound, not three."
        )
    ratios = [path.error / path.epsilon for path in near.values()]
    mixed = max(path.mixed / path.epsilon for path in every.values() if path.epsilon)
    disagreement = max(path.disagreement for path in near.values())
    text = (
        f"Largest error on the path of {len(near)} spawned or matched pairs: "
        f"{summary(ratios).mean:.2f} ε on average, {max(ratios):.2f} ε at most; the bound is 2 ε. "
        f"Path and mix disagree on at most {disagreement:.2%} of examples. The mix errs "
        f"{mixed:.2f} ε at most, over all pairs."
    )
    far = [p for (_, kind, _), p in every.items() if kind == APART and p.epsilon]
    if far:
        over = sum(path.is_above for path in far)
        apart = summary([path.disagreement for path in far]).mean
        text += (
            f" Of {len(far)} pairs apart, whose path and mix disagree on {apart:.0%} on average, "
            f"{over} exceed it."
        )
    sound = all(path.excess <= ROUNDING for path in every.values())
    if not sound:
        text += " A path errs more than arithmetic allows: the measure is at fault."
    left_out = sorted({pair[0] for pair in every} - settings)
    text += f" No pair apart exceeds it, so not judged: {', '.join(left_out)}." if left_out else ""
    return Verdict.of(sound and max(ratios) <= 2 and mixed <= 2, text)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the error along the path for each setting, a line per kind, and 2ε."""
    found = grouped(features_of(rows), "setting")
    return [_figure(name, part) for (name,), part in found.items()]


def _figure(name: str, rows: Sequence[Row]) -> Picture:
    figure, (ax,) = panels()
    told = []
    for (kind,), part in grouped(rows, "kind").items():
        draw_means(
            ax, summarize(select(part, measure=ERROR), "mean", ["alpha"]), "alpha", label=kind
        )
        mix = summarize(select(part, measure=MIXED), "mean", ["alpha"])
        color = ax.lines[-1].get_color()
        draw_means(ax, mix, "alpha", color=color, linestyle="--", markersize=2)
        found = paths(part).values()
        bound = 2 * summary([path.epsilon for path in found]).mean
        ax.axhline(bound, color=color, linestyle=":")
        error = summary([path.error for path in found]).mean
        told.append(f"{error:.3g} for pairs {kind}, whose bound is {bound:.3g}")
    ax.set_title(name)
    ax.set_xlabel("α (0 is B, 1 is A)")
    ax.set_ylabel("test error")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    alt = (
        f"Test error between A and B against alpha, {name}. Mean over pairs of the largest error: "
        f"{'; '.join(told)}."
    )
    caption = "Solid: networks on the path; dashed: the mix of the ends' outputs; dotted: 2ε."
    return Picture(f"errors-{slug(name)}", figure, alt, caption)


def table(rows: Sequence[Row]) -> Table:
    """Return, for each pair, ε, the bound, and the largest error on the path."""
    header = ("setting", "kind", "pair", "ε", "2ε", "path", "mix", "disagreement")
    body = [
        (
            *pair,
            f"{path.epsilon:.4f}",
            f"{2 * path.epsilon:.4f}",
            f"{path.error:.4f}",
            f"{path.mixed:.4f}",
            f"{path.disagreement:.4f}",
        )
        for pair, path in paths(features_of(rows)).items()
    ]
    return Table(header, body, "Largest test errors over the alphas between the ends.")


STUDY = Study(
    name="lemma",
    paper=PAPER,
    item="Lemma 1",
    claim="Where the outputs between two networks are the mix of theirs and both have a test error "
    "of at most ε, no network between them has one above 2ε.",
    scales={"smoke": SMOKE, "small": SMALL, "paper": PAPER_CONFIG},
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
