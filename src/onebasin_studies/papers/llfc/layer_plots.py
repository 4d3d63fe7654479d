"""Profiles: what was measured layer by layer, told apart by whether pairs are connected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from onebasin_studies.papers.llfc.pairs import APART, BARRIER, CONNECTED, FEATURES, KINDS
from onebasin_studies.runtime.drawing import draw_means, panels
from onebasin_studies.runtime.statistics import grouped, select, summarize, values_of
from onebasin_studies.runtime.study import Row, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_PAIRS = 2
"""Connected pairs that a setting must have to be judged."""

MOST_NAMES = 16
"""Names of layers that fit below a panel."""

PANEL_HEIGHT, LETTER_HEIGHT = 3.1, 0.07
"""Of a panel without names below, and what a letter of the longest takes, in inches."""

PAIR = ("setting", "kind", "pair")


def features_of(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """Return the rows of measures at layers."""
    return select(rows, quantity=FEATURES, **wanted)


def connected(rows: Sequence[Row]) -> list[Row]:
    """Return the rows at layers of the spawned and matched pairs that turned out connected.

    Their barrier of the test error is at most `CONNECTED`; pairs without a barrier are left out.
    """
    barriers = {key: found for key, found in grouped(select(rows, quantity=BARRIER), *PAIR).items()}
    good = {key for key, found in barriers.items() if found[0]["error_barrier"] <= CONNECTED}
    return [
        row
        for row in features_of(rows)
        if row["kind"] in KINDS and row["kind"] != APART and tuple(row[c] for c in PAIR) in good
    ]


def apart(rows: Sequence[Row]) -> list[Row]:
    """Return the rows at layers of pairs that are neither spawned nor matched."""
    return features_of(rows, kind=APART)


def judged(rows: Sequence[Row]) -> list[str]:
    """Return the settings that can be judged: enough connected pairs, and enough apart."""
    sides = connected(rows), apart(rows)
    counts = [_num_pairs(side) for side in sides]
    return [name for name in counts[0] if min(c.get(name, 0) for c in counts) >= LEAST_PAIRS]


def _num_pairs(rows: Sequence[Row]) -> dict[str, int]:
    found = grouped(rows, "setting")
    return {name: len({row["pair"] for row in part}) for (name,), part in found.items()}


def left_out(rows: Sequence[Row]) -> str:
    """Return in words which spawned and matched pairs are not connected, or nothing."""
    pairs = {tuple(r[c] for c in PAIR) for r in features_of(rows) if r["kind"] in KINDS[:2]}
    good = {tuple(row[c] for c in PAIR) for row in connected(rows)}
    if pairs == good:
        return ""
    return (
        f" {len(pairs - good)} of {len(pairs)} spawned or matched pairs are not connected (barrier "
        f"of the test error above {CONNECTED:g}) and do not count."
    )


def not_evaluable(rows: Sequence[Row]) -> Verdict:
    """Return the verdict where no setting can be judged."""
    return Verdict.inconclusive(
        f"No setting has two connected pairs and two apart.{left_out(rows)}"
    )


def by_layer(
    rows: Sequence[Row], measure: str, alpha: float | None = None
) -> dict[tuple[int, str], float]:
    """Return means over pairs, by place and name of the layer."""
    found = summarize(select(rows, measure=measure, alpha=alpha), "mean", ["place", "layer"])
    return {(s.group["place"], s.group["layer"]): s.mean for s in found}


def draw_layers(
    ax: Axes, rows: Sequence[Row], measure: str, alpha: float | None, label: str, **style: Any
) -> None:
    """Draw a measure over the layers, its mean over pairs with the interval."""
    part = select(rows, measure=measure, alpha=alpha)
    if values_of(part, "mean"):
        draw_means(ax, summarize(part, "mean", ["place"]), "place", label=label, **style)


def name_layers(ax: Axes, rows: Sequence[Row]) -> None:
    """Write the names of the layers below the places they have."""
    shown = _shown(rows)
    ax.set_xticks([p for p, _ in shown], [n for _, n in shown], rotation=60, ha="right")
    ax.tick_params(axis="x", labelsize="small")
    ax.set_xlabel("layer")


def _shown(rows: Sequence[Row]) -> list[tuple[int, str]]:
    """Return the layers whose names are written: a long network has more than fit below."""
    names = sorted({(row["place"], row["layer"]) for row in rows})
    return names[:: -(-len(names) // MOST_NAMES)]


def layer_panels(rows: Sequence[Row], num: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels that `name_layers` leaves room in, whatever the names.

    Args:
        rows: of measures at layers.
        num: panels, below each other.
    """
    longest = max((len(name) for _, name in _shown(rows)), default=0)
    return panels(num, height=PANEL_HEIGHT + LETTER_HEIGHT * longest)


def panel_per_kind(rows: Sequence[Row]) -> tuple[Figure, list[tuple[str, Axes]]]:
    """Return a figure with a panel for each kind of pair in rows, and the kinds."""
    present = {row["kind"] for row in rows}
    kinds = [*(kind for kind in KINDS if kind in present), *sorted(present - set(KINDS))]
    figure, axes = layer_panels(rows, len(kinds))
    return figure, list(zip(kinds, axes, strict=True))


def extremes(values: Iterable[float], form: str = ".3g") -> str:
    """Return the lowest and highest of values in words."""
    found = list(values)
    return f"{min(found):{form}} to {max(found):{form}}" if found else "nothing"


def slug(text: str) -> str:
    """Return a text as the name of a file."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
