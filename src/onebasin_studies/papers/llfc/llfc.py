"""Zhou et al., Definition 2: layer-wise linear feature connectivity (LLFC)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onebasin_studies.papers.llfc import PAPER
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
    panel_per_kind,
    slug,
)
from onebasin_studies.papers.llfc.pairs import (
    INDEPENDENT,
    PAPER_CONFIG,
    SMALL,
    SMOKE,
    Config,
    measured,
)
from onebasin_studies.runtime.drawing import draw_means, legend_below
from onebasin_studies.runtime.statistics import grouped, select, summarize
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

COSINE, ENDS, COEFFICIENT = "1-cos", "1-cos ends", "c"
SHARE = 0.2
"""Maximum ratio of 1-cos on the path to 1-cos between the endpoints."""

MOST_LAYERS = 0.9
"""Minimum fraction of layers and alphas that satisfy `SHARE`."""

TIMES = 2.0
"""Minimum ratio of 1-cos of independent and connected pairs."""

NEAR = 0.25
"""Maximum mean distance of c from 1 over layers."""


def tasks(config: Config) -> list[Task]:
    """Return LLFC and the barrier of every pair."""
    return measured(config, "llfc")


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """Connected pairs have LLFC and independent pairs do not, in every evaluable setting.

    Layers count from the second on, because the first is linear in the parameters. All values are
    means over pairs. For connected pairs, 1-cos is at most a fifth of that between the endpoints at
    90 % of layers and alphas, and c is within 0.25 of 1 on average over layers at alpha 1/2. For
    independent pairs, 1-cos is at least twice as large on average over layers at alpha 1/2. A
    setting needs two connected and two independent pairs.
    """
    names = evaluable(rows)
    if not names:
        return not_evaluable(rows)
    figures = {name: _figures(name, rows) for name in names}
    listing = "; ".join(
        f"{name}: 1−cos {f['path']:.4f} on the path, {f['ends']:.3f} between the endpoints "
        f"(a fifth or less at {f['share']:.0%} of layers and alphas), |c − 1| {f['c']:.2f}; "
        f"independent pairs: 1−cos {f['independent']:.3f}, |c − 1| {f['c independent']:.2f}"
        for name, f in figures.items()
    )
    holds = all(
        f["share"] >= MOST_LAYERS and f["c"] <= NEAR and f["independent"] >= TIMES * f["path"]
        for f in figures.values()
    )
    return Verdict.of(holds, f"{listing}.{left_out(rows)}")


def _figures(name: str, rows: Sequence[Row]) -> Mapping[str, float]:
    """Return the values that decide on a setting."""
    near, far = (select(side, setting=name) for side in (connected(rows), independent_pairs(rows)))
    alphas = sorted({row["alpha"] for row in near if row["measure"] == COSINE})
    ends = _later(by_layer(near, ENDS))
    cells = [
        (value, ends[layer])
        for alpha in alphas
        for layer, value in _later(by_layer(near, COSINE, alpha)).items()
    ]
    half = _half(alphas)
    return {
        "path": _mean(_later(by_layer(near, COSINE, half))),
        "ends": _mean(ends),
        "share": sum(value <= SHARE * end for value, end in cells) / len(cells),
        "c": _mean(_off(near, half)),
        "independent": _mean(_later(by_layer(far, COSINE, half))),
        "c independent": _mean(_off(far, half)),
    }


def _off(rows: Sequence[Row], alpha: float) -> dict[tuple[int, str], float]:
    return {k: abs(v - 1) for k, v in _later(by_layer(rows, COEFFICIENT, alpha)).items()}


def _later(values: Mapping[tuple[int, str], float]) -> dict[tuple[int, str], float]:
    return {layer: value for layer, value in values.items() if layer[0] > 0}


def _half(alphas: Iterable[float]) -> float:
    return min(alphas, key=lambda alpha: abs(alpha - 0.5))


def _mean(values: Mapping[tuple[int, str], float]) -> float:
    return sum(values.values()) / len(values)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw 1-cos by kind of pair, and c, over the layers for each setting."""
    return [
        picture
        for (name,), part in grouped(features_of(rows), "setting").items()
        for picture in (_cosines(name, part), _coefficients(name, part))
    ]


def _cosines(name: str, rows: Sequence[Row]) -> Picture:
    figure, axes = panel_per_kind(rows)
    listing = []
    for kind, ax in axes:
        part = select(rows, kind=kind)
        alphas = sorted({r["alpha"] for r in part if r["measure"] == COSINE})
        for alpha in alphas:
            # Complementary weights of A and B give nearly the same line.
            style = {"markersize": 3} if alpha <= 0.5 else {"markersize": 2, "linestyle": ":"}
            draw_layers(ax, part, COSINE, alpha, f"α = {alpha:g}", **style)
        draw_layers(ax, part, ENDS, None, "A and B", markersize=3, linestyle="--")
        ax.set_title(f"{name}: {kind}" if kind not in name else name)
        ax.set_ylabel("1 − E[cos]")
        name_layers(ax, part)
        path = extremes(v for a in alphas for v in by_layer(part, COSINE, a).values())
        listing.append(f"{kind}: {path}, A against B {extremes(by_layer(part, ENDS).values())}")
    # All panels share the legend, which has no room inside them.
    legend_below(axes[0][1])
    alt = (
        "1 minus the cosine between features on the path and the interpolated features, "
        f"over the layers. {name}, lowest to highest layer. {'. '.join(listing)}."
    )
    caption = "Mean over test examples, then over pairs, with the 95 % interval over pairs."
    return Picture(f"cosines-{slug(name)}", figure, alt, caption)


def _coefficients(name: str, rows: Sequence[Row]) -> Picture:
    part = select(rows, measure=COEFFICIENT)
    figure, (ax,) = layer_panels(part)
    alphas = sorted({row["alpha"] for row in part})
    half = _half(alphas)
    listing = []
    for (kind,), of_kind in grouped(select(part, alpha=half), "kind").items():
        draw_means(ax, summarize(of_kind, "mean", ["place"]), "place", label=kind, markersize=3)
        listing.append(
            f"{extremes(by_layer(of_kind, COEFFICIENT, half).values())} for pairs {kind}"
        )
    ax.axhline(1, color="gray", linestyle=":")
    ax.set_title(name)
    ax.set_ylabel(f"c at α = {half:g}")
    legend_below(ax)
    name_layers(ax, part)
    alt = f"The coefficient c over the layers at alpha {half:g}, {name}: {'; '.join(listing)}."
    return Picture(
        f"coefficients-{slug(name)}",
        figure,
        alt,
        "With c = 1 the features equal the interpolated features.",
    )


def table(rows: Sequence[Row]) -> Table:
    """Return 1-cos on the path and between the endpoints, and c, by setting, kind and layer."""
    header = ("setting", "kind", "layer", "pairs", "1−cos, α=½", "1−cos of A and B", "c, α=½")
    body = []
    keys = ("setting", "kind", "place", "layer")
    for (name, kind, _, layer), part in grouped(features_of(rows), *keys).items():
        alphas = [row["alpha"] for row in part if row["alpha"] is not None]
        half = _half(alphas)
        cells = [
            summarize(select(part, measure=measure, alpha=alpha), "mean")
            for measure, alpha in ((COSINE, half), (ENDS, None), (COEFFICIENT, half))
        ]
        pairs = len({row["pair"] for row in part})
        listing = (means[0] if means else "" for means in cells)
        body.append((name, kind, layer, pairs, *listing))
    return Table(header, body, f"Means over pairs. {INDEPENDENT}: neither spawned nor matched.")


STUDY = Study(
    name="llfc",
    paper=PAPER,
    item="LLFC, Definition 2",
    claim="For linearly connected networks, spawned or matched, the features of an interpolated "
    "network are the interpolated features of both, at almost every layer.",
    scales={"smoke": SMOKE, "small": SMALL, "paper": PAPER_CONFIG},
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
