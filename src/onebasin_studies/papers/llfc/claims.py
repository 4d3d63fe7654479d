"""The two conditions under which LLFC follows: evaluation, figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onebasin_studies.papers.llfc.layer_plots import (
    by_layer,
    connected,
    draw_layers,
    evaluable,
    extremes,
    features_of,
    independent_pairs,
    layer_panels,
    left_out,
    name_layers,
    not_evaluable,
    slug,
)
from onebasin_studies.runtime.drawing import legend_below
from onebasin_studies.runtime.statistics import Summary, grouped, select, summarize, values_of
from onebasin_studies.runtime.study import Picture, Row, Table, Verdict


@dataclass(frozen=True)
class Condition:
    """A distance that is 0 at every layer if the condition holds.

    Args:
        name: name of the condition.
        measure: the measure in rows.
        alpha: the evaluated interpolation weight of A, or None.
        limit: maximum mean distance of connected pairs over layers.
        times: minimum ratio of the distances of independent and connected pairs.
        what: the compared quantities, in a few words.
        first: index of the first layer that counts.
    """

    name: str
    measure: str
    alpha: float | None
    limit: float
    times: float
    what: str
    first: int = 0

    def judge(self, rows: Sequence[Row]) -> Verdict:
        """Return the verdict over all evaluable settings."""
        names = evaluable(rows)
        if not names:
            return not_evaluable(rows)
        parts, holds = [], True
        for name in names:
            near, far = (
                self.profile(select(side, setting=name))
                for side in (connected(rows), independent_pairs(rows))
            )
            means = [sum(profile.values()) / len(profile) for profile in (near, far)]
            holds &= means[0] <= self.limit and means[1] >= self.times * means[0]
            parts.append(
                f"{name}: {means[0]:.4f} for connected pairs ({extremes(near.values())} over "
                f"{len(near)} layers), {means[1]:.4f} for independent pairs"
            )
        text = (
            f"Mean distance between {self.what}. {'; '.join(parts)}. Thresholds: at most "
            f"{self.limit:g}, and at least {self.times:g} times as large for independent pairs."
        )
        return Verdict.of(holds, f"{text}{left_out(rows)}")

    def profile(self, rows: Sequence[Row]) -> Mapping[tuple[int, str], float]:
        """Return means over pairs for the layers that count."""
        means = by_layer(rows, self.measure, self.alpha)
        return {layer: value for layer, value in means.items() if layer[0] >= self.first}

    def figures(self, rows: Sequence[Row]) -> list[Picture]:
        """Draw the distance over the layers for each setting, one line per kind of pair."""
        settings = grouped(features_of(rows), "setting")
        return [self._figure(name, part) for (name,), part in settings.items()]

    def _figure(self, name: str, rows: Sequence[Row]) -> Picture:
        figure, (ax,) = layer_panels(rows)
        listing = []
        for (kind,), part in grouped(rows, "kind").items():
            draw_layers(ax, part, self.measure, self.alpha, kind, markersize=3)
            listing.append(f"{extremes(self.profile(part).values())} for pairs {kind}")
        ax.set_title(name)
        ax.set_ylabel("‖X − Y‖² / (‖X‖ ‖Y‖)")
        ax.set_ylim(bottom=0)
        legend_below(ax)
        name_layers(ax, rows)
        alt = (
            f"Distance between {self.what} over the layers, {name}: {'; '.join(listing)}. It is 0 "
            f"where {self.name} holds."
        )
        caption = f"{self.name.capitalize()}: mean over test examples, then over pairs; 95 % bands."
        return Picture(f"distances-{slug(name)}", figure, alt, caption)

    def table(self, rows: Sequence[Row]) -> Table:
        """Return the distance and 1-cos by setting, kind and layer."""
        header = ("setting", "kind", "layer", "pairs", "distance", "1−cos")
        body = []
        keys = ("setting", "kind", "place", "layer")
        for (name, kind, _, layer), part in grouped(features_of(rows), *keys).items():
            chosen = select(part, alpha=self.alpha)
            pairs = len({row["pair"] for row in part})
            cells = [self._cell(select(chosen, measure=m)) for m in (self.measure, "1-cos")]
            body.append((name, kind, layer, pairs, *cells))
        at = "" if self.alpha is None else f" at α = {self.alpha:g}"
        return Table(header, body, f"Between {self.what}{at}; means over pairs.")

    def _cell(self, rows: Sequence[Row]) -> Summary | str:
        return summarize(rows, "mean")[0] if values_of(rows, "mean") else ""
