"""Zhou et al., Lemma 1: LLFC at the output bounds the error on the path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onebasin_studies.papers.llfc import PAPER
from onebasin_studies.papers.llfc.layer_plots import PAIR, features_of, slug
from onebasin_studies.papers.llfc.pairs import (
    INDEPENDENT,
    PAPER_CONFIG,
    SMALL,
    SMOKE,
    Config,
    measured,
)
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
        epsilon: larger error of the two endpoints.
        ends: sum of the errors of the endpoints.
        error: maximum error between them, over the alphas.
        mixed: maximum error of mixed outputs.
        disagreement: maximum fraction of examples on which path and mix disagree.
        excess: error on the path minus its upper bound, the errors of the endpoints plus the
            disagreement. A positive value indicates a bug.
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
        """Return the path of one pair from its rows."""
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
    """Return the path of every pair by setting, kind and number."""
    return {pair: Path.of(part) for pair, part in grouped(rows, *PAIR).items()}


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """No spawned or matched pair has an error on its path above 2ε, nor has any pair's mix.

    All spawned and matched pairs count, also those with a barrier. A setting counts only if some
    independent pair exceeds 2ε; otherwise the bound is trivial. At least three spawned or matched
    pairs with nonzero error are needed. The error of every pair must satisfy the triangle bound:
    the errors of its endpoints plus the disagreement of path and mix. A violation would be a bug in
    the measurement.
    """
    every = paths(features_of(rows))
    settings = {pair[0] for pair, path in every.items() if pair[1] == INDEPENDENT and path.is_above}
    near = {
        pair: path
        for pair, path in every.items()
        if pair[1] != INDEPENDENT and pair[0] in settings and path.epsilon > 0
    }
    if len(near) < LEAST_PAIRS:
        return Verdict.inconclusive(
            f"{len(near)} spawned or matched pairs that make errors were measured in settings "
            "where independent pairs exceed the bound; three are needed."
        )
    ratios = [path.error / path.epsilon for path in near.values()]
    mixed = max(path.mixed / path.epsilon for path in every.values() if path.epsilon)
    disagreement = max(path.disagreement for path in near.values())
    text = (
        f"Largest error on the path of {len(near)} spawned or matched pairs: "
        f"{summary(ratios).mean:.2f} ε on average, {max(ratios):.2f} ε at most; the bound is 2 ε. "
        f"Their predictions differ from those of the interpolated outputs on at most "
        f"{disagreement:.2%} of examples. The interpolated outputs have an error of at most "
        f"{mixed:.2f} ε over all pairs."
    )
    far = [p for (_, kind, _), p in every.items() if kind == INDEPENDENT and p.epsilon]
    if far:
        over = sum(path.is_above for path in far)
        mean_disagreement = summary([path.disagreement for path in far]).mean
        text += (
            f" Of {len(far)} independent pairs, whose predictions differ on "
            f"{mean_disagreement:.0%} on average, {over} exceed the bound."
        )
    sound = all(path.excess <= ROUNDING for path in every.values())
    if not sound:
        text += " A path violates the triangle bound, which indicates a bug in the measurement."
    left_out = sorted({pair[0] for pair in every} - settings)
    text += (
        f" Not evaluated, because no independent pair exceeds it: {', '.join(left_out)}."
        if left_out
        else ""
    )
    return Verdict.of(sound and max(ratios) <= 2 and mixed <= 2, text)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the error along the path for each setting, one line per kind, and 2ε."""
    settings = grouped(features_of(rows), "setting")
    return [_figure(name, part) for (name,), part in settings.items()]


def _figure(name: str, rows: Sequence[Row]) -> Picture:
    figure, (ax,) = panels()
    listing = []
    for (kind,), part in grouped(rows, "kind").items():
        draw_means(
            ax, summarize(select(part, measure=ERROR), "mean", ["alpha"]), "alpha", label=kind
        )
        mix = summarize(select(part, measure=MIXED), "mean", ["alpha"])
        color = ax.lines[-1].get_color()
        draw_means(ax, mix, "alpha", color=color, linestyle="--", markersize=2)
        measured = paths(part).values()
        bound = 2 * summary([path.epsilon for path in measured]).mean
        ax.axhline(bound, color=color, linestyle=":")
        error = summary([path.error for path in measured]).mean
        listing.append(f"{error:.3g} for pairs {kind}, whose bound is {bound:.3g}")
    ax.set_title(name)
    ax.set_xlabel("α (0 is B, 1 is A)")
    ax.set_ylabel("test error")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    alt = (
        f"Test error between A and B against alpha, {name}. Mean over pairs of the largest error: "
        f"{'; '.join(listing)}."
    )
    caption = "Solid: networks on the path; dashed: the interpolated outputs; dotted: 2ε."
    return Picture(f"errors-{slug(name)}", figure, alt, caption)


def table(rows: Sequence[Row]) -> Table:
    """Return ε, the bound and the maximum error on the path of each pair."""
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
    return Table(header, body, "Largest test errors over the alphas between the endpoints.")


STUDY = Study(
    name="lemma",
    paper=PAPER,
    item="Lemma 1",
    claim="If two networks have a test error of at most ε, and the outputs on the line between "
    "them are the interpolated outputs of both, no network on the line has an error above 2ε.",
    scales={"smoke": SMOKE, "small": SMALL, "paper": PAPER_CONFIG},
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
