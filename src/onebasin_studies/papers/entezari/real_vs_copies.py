"""Real pairs (S) against permuted copies (S′): means, agreement and figures.

Rows have columns `world` ("real" or "model"), `state` ("before" or "after" the search, or
"weights") and `sweep` ("width" or "depth"), in addition to those of `measure_barrier`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from onebasin_studies.papers.entezari.charts import mean_text
from onebasin_studies.runtime.drawing import describe_means, draw_means, panels, size_axis
from onebasin_studies.runtime.statistics import grouped, select, slope, summarize, values_of
from onebasin_studies.runtime.study import Picture, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_POINTS = 10
"""Minimum number of points for a density."""

WORLDS, STATES = ("real", "model"), ("before", "after", "weights")
PLACE = ("sweep", "family", "data", "width", "depth", "normalization")
"""The columns that identify one architecture of a sweep."""


@dataclass(frozen=True)
class Place:
    """Mean barriers of real pairs and of permuted copies for one architecture.

    Args:
        labels: values of the columns `PLACE`.
        real: mean over pairs of S.
        model: mean over pairs of S′.
        n: smaller number of pairs.
        spread: standard deviation over pairs of S′; NaN for one pair.
    """

    labels: dict[str, Any]
    real: float
    model: float
    n: int
    spread: float


def places_of(rows: Sequence[Row], state: str, split: str = "train") -> list[Place]:
    """Return the mean loss barriers of all architectures measured in both S and S′."""
    result = []
    for key, part in grouped(select(rows, state=state, split=split), *PLACE).items():
        worlds = [summarize(select(part, world=world), "barrier") for world in WORLDS]
        if all(worlds):
            (real,), (model,) = worlds
            labels: dict[str, Any] = dict(zip(PLACE, key, strict=True))
            n = min(real.n, model.n)
            result.append(Place(labels, real.mean, model.mean, n, model.deviation))
    return result


@dataclass(frozen=True)
class Agreement:
    """Agreement of the barriers of S and S′ over architectures.

    Args:
        correlation: Pearson correlation.
        difference: mean absolute difference.
        level: mean of all barriers of S and S′.
        spread: mean standard deviation over pairs of S′.
        n: number of architectures.
    """

    correlation: float
    difference: float
    level: float
    spread: float
    n: int


def agreement_of(places: Sequence[Place]) -> Agreement:
    """Return the agreement of S and S′.

    Args:
        places: at least three architectures.
    """
    real, model = [p.real for p in places], [p.model for p in places]
    constant = len(set(real)) < 2 or len(set(model)) < 2
    correlation = 0.0 if constant else slope(real, model).correlation
    n = len(places)
    return Agreement(
        correlation=correlation,
        difference=sum(abs(p.real - p.model) for p in places) / n,
        level=(sum(real) + sum(model)) / (2 * n),
        spread=sum(p.spread for p in places) / n,
        n=n,
    )


def sweep_picture(rows: Sequence[Row], sweep: str, split: str) -> Picture:
    """Draw barriers of S and S′ before and after the search, one panel per series."""
    part = select(rows, sweep=sweep, split=split)
    series = grouped(part, "family", "data", "normalization")
    figure, axes = panels(max(1, len(series)))
    words = []
    for ax, ((family, data, statistics), same) in zip(axes, series.items(), strict=False):
        name = f"{family} on {data}"
        name += "" if statistics == "interpolated" else f", statistics {statistics}"
        for state, world in ((s, w) for s in STATES[:2] for w in WORLDS):
            means = summarize(select(same, state=state, world=world), "barrier", by=[sweep])
            if means:
                style = "-" if world == "real" else "--"
                draw_means(ax, means, sweep, label=f"{world}, {state}", linestyle=style)
                words.append(f"{name}, {world}, {state}: {describe_means(means, sweep)}")
        size_axis(ax, sweep, [row[sweep] for row in same])
        ax.set_ylabel(f"{split} loss barrier")
        ax.set_title(name)
        ax.legend(frameon=False)
    alt = f"Barriers on the {split} set of both worlds against the {sweep}. {'; '.join(words)}."
    caption = "Real: networks from different seeds. Model: one network, units in random orders."
    return Picture(f"{sweep}-{split}", figure, alt, caption)


def density_picture(rows: Sequence[Row]) -> Picture:
    """Draw the density of pairs of S′ against pairs of S, before and after the search."""
    figure, axes = panels(2)
    words = []
    for ax, state in zip(axes, STATES[:2], strict=True):
        points = _paired(select(rows, state=state, split="train"))
        _draw_density(ax, points)
        ax.set_xlabel(f"real barrier, {state} the search")
        ax.set_ylabel("model barrier")
        words.append(f"{state} the search {len(points)} pairs")
        places = places_of(rows, state)
        if len(places) >= 3:
            agreement = agreement_of(places)
            words[-1] += (
                f", whose means over {agreement.n} architectures correlate at "
                f"{agreement.correlation:.2f}"
            )
    alt = (
        "Train loss barriers of pairs of the model over those of real pairs, with the diagonal: "
        f"{'; '.join(words)}."
    )
    caption = (
        "A point for every pair of each architecture, and the density of ten or more points; on "
        "the dotted line real networks and copies have the same barriers."
    )
    return Picture("density", figure, alt, caption)


def _draw_density(ax: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw points over the density of the square root of their barriers.

    Square-root axes show barriers of all sizes, including 0.
    """
    from scipy.stats import gaussian_kde

    roots = np.sqrt(np.array(points, dtype=float).reshape(-1, 2)).T
    highest = 1.1 * max([*roots.flatten(), 0.1])
    if len(points) >= FEWEST_POINTS and np.linalg.matrix_rank(np.cov(roots)) == 2:
        grid = np.linspace(0, highest, 80)
        x, y = np.meshgrid(grid, grid)
        density = gaussian_kde(roots)(np.stack([x.flatten(), y.flatten()])).reshape(x.shape)
        levels = np.linspace(0, density.max(), 9)[1:]
        ax.contourf(grid**2, grid**2, density, levels, cmap="GnBu", extend="max")
    ax.scatter(*roots**2, s=12, color="black", alpha=0.6, linewidths=0, clip_on=False)
    ax.plot([0, highest**2], [0, highest**2], ":", color="gray", linewidth=1)
    for scale, limit in ((ax.set_xscale, ax.set_xlim), (ax.set_yscale, ax.set_ylim)):
        scale("function", functions=(_root, np.square))
        limit(0, highest**2)
    ax.grid(visible=False)


def _root(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(values, 0))


def _paired(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Return the barriers of the real and the copied pair of each number."""
    pairs = []
    for part in grouped(rows, *PLACE, "pair").values():
        real, model = (values_of(select(part, world=world), "barrier") for world in WORLDS)
        pairs += list(zip(real, model, strict=False))
    return pairs


def comparison_table(rows: Sequence[Row]) -> Table:
    """Return the barriers of S and S′ in every state."""
    header = ("network", "data", "depth", "width", "state", "pairs", "real", "model", "test, real")
    body = []
    for state in STATES:
        for key, part in grouped(select(rows, state=state), *PLACE).items():
            place = dict(zip(PLACE, key, strict=True))
            train = select(part, split="train")
            real, model = (select(train, world=world) for world in WORLDS)
            test = select(part, split="test", world="real")
            names = (place["family"], place["data"], place["depth"], place["width"], state)
            texts = [mean_text(each, "barrier") for each in (real, model, test)]
            body.append((*names, min(len(real), len(model)), *texts))
    caption = (
        "Loss barriers on the training set, but for the last column; mean over pairs ± half of the "
        "95 % interval. After: moved by annealing; weights: moved by weight matching, which finds "
        "the way back to a copy."
    )
    return Table(header, body, caption)
