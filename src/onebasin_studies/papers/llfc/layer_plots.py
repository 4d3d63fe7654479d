"""Layer-wise measures of connected and independent pairs, and their plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from onebasin_studies.papers.llfc.pairs import BARRIER, CONNECTED, FEATURES, INDEPENDENT, KINDS
from onebasin_studies.runtime.drawing import draw_means, panels
from onebasin_studies.runtime.statistics import grouped, select, summarize, values_of
from onebasin_studies.runtime.study import Row, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_PAIRS = 2
"""Minimum number of connected pairs of an evaluable setting."""

MOST_NAMES = 16
"""Maximum number of layer names below a panel."""

PANEL_HEIGHT, LETTER_HEIGHT = 3.1, 0.07
"""Height of a panel without names, and height per letter of the longest name, in inches."""

PAIR = ("setting", "kind", "pair")


def features_of(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """Return the rows of layer-wise measures."""
    return select(rows, quantity=FEATURES, **wanted)


def connected(rows: Sequence[Row]) -> list[Row]:
    """Return the layer-wise rows of the spawned and matched pairs that are connected.

    Their test-error barrier is at most `CONNECTED`; pairs without a barrier are omitted.
    """
    barriers = {key: part for key, part in grouped(select(rows, quantity=BARRIER), *PAIR).items()}
    good = {key for key, part in barriers.items() if part[0]["error_barrier"] <= CONNECTED}
    return [
        row
        for row in features_of(rows)
        if row["kind"] in KINDS
        and row["kind"] != INDEPENDENT
        and tuple(row[c] for c in PAIR) in good
    ]


def independent_pairs(rows: Sequence[Row]) -> list[Row]:
    """Return the layer-wise rows of independent pairs, neither spawned nor matched."""
    return features_of(rows, kind=INDEPENDENT)


def evaluable(rows: Sequence[Row]) -> list[str]:
    """Return the evaluable settings: enough connected and enough independent pairs."""
    sides = connected(rows), independent_pairs(rows)
    counts = [_num_pairs(side) for side in sides]
    return [name for name in counts[0] if min(c.get(name, 0) for c in counts) >= LEAST_PAIRS]


def _num_pairs(rows: Sequence[Row]) -> dict[str, int]:
    settings = grouped(rows, "setting")
    return {name: len({row["pair"] for row in part}) for (name,), part in settings.items()}


def left_out(rows: Sequence[Row]) -> str:
    """Return a sentence about spawned and matched pairs that are not connected, or ""."""
    pairs = {tuple(r[c] for c in PAIR) for r in features_of(rows) if r["kind"] in KINDS[:2]}
    good = {tuple(row[c] for c in PAIR) for row in connected(rows)}
    if pairs == good:
        return ""
    return (
        f" {len(pairs - good)} of {len(pairs)} spawned or matched pairs are not connected (barrier "
        f"of the test error above {CONNECTED:g}) and do not count."
    )


def not_evaluable(rows: Sequence[Row]) -> Verdict:
    """Return the verdict without any evaluable setting."""
    return Verdict.inconclusive(
        f"No setting has two connected and two independent pairs.{left_out(rows)}"
    )


def by_layer(
    rows: Sequence[Row], measure: str, alpha: float | None = None
) -> dict[tuple[int, str], float]:
    """Return means over pairs, by index and name of the layer."""
    means = summarize(select(rows, measure=measure, alpha=alpha), "mean", ["place", "layer"])
    return {(s.group["place"], s.group["layer"]): s.mean for s in means}


def draw_layers(
    ax: Axes, rows: Sequence[Row], measure: str, alpha: float | None, label: str, **style: Any
) -> None:
    """Plot a measure over the layers: the mean over pairs with its interval."""
    part = select(rows, measure=measure, alpha=alpha)
    if values_of(part, "mean"):
        draw_means(ax, summarize(part, "mean", ["place"]), "place", label=label, **style)


def name_layers(ax: Axes, rows: Sequence[Row]) -> None:
    """Label the horizontal axis with the names of the layers."""
    layers = _shown(rows)
    ax.set_xticks([p for p, _ in layers], [n for _, n in layers], rotation=60, ha="right")
    ax.tick_params(axis="x", labelsize="small")
    ax.set_xlabel("layer")


def _shown(rows: Sequence[Row]) -> list[tuple[int, str]]:
    """Return the labeled layers; a deep network has too many for the axis."""
    names = sorted({(row["place"], row["layer"]) for row in rows})
    return names[:: -(-len(names) // MOST_NAMES)]


def layer_panels(rows: Sequence[Row], num: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels with room for the layer names.

    Args:
        rows: rows of layer-wise measures.
        num: number of panels, one per row.
    """
    longest = max((len(name) for _, name in _shown(rows)), default=0)
    return panels(num, height=PANEL_HEIGHT + LETTER_HEIGHT * longest)


def panel_per_kind(rows: Sequence[Row]) -> tuple[Figure, list[tuple[str, Axes]]]:
    """Return a figure with one panel per kind of pair, and the kinds."""
    present = {row["kind"] for row in rows}
    kinds = [*(kind for kind in KINDS if kind in present), *sorted(present - set(KINDS))]
    figure, axes = layer_panels(rows, len(kinds))
    return figure, list(zip(kinds, axes, strict=True))


def extremes(values: Iterable[float], form: str = ".3g") -> str:
    """Return the minimum and maximum of values as text."""
    numbers = list(values)
    return f"{min(numbers):{form}} to {max(numbers):{form}}" if numbers else "nothing"


def slug(text: str) -> str:
    """Return a text as a file name."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
