"""Entezari et al., Theorem 3.1: untrained networks, matched cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2, sqrt

import torch
from torch import Tensor, nn

from onebasin.merging.averages import average
from onebasin.symmetry import Permutation, infer_symmetry
from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.cells import match_cells
from onebasin_studies.papers.entezari.settings import powers
from onebasin_studies.runtime.drawing import (
    describe_means,
    draw_means,
    explain,
    legend_below,
    panels,
    size_axis,
)
from onebasin_studies.runtime.statistics import Slope, grouped, select, slope, summarize
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict
from onebasin_studies.runtime.task import Result, Task, task

FEWEST_WIDTHS, FEWEST_DRAWS = 5, 24
FLAT = 0.03
"""Maximum absolute value of a flat slope."""

STATES = {"matched": "constructed permutation", "random": "random permutation"}


@dataclass(frozen=True)
class Config:
    """Sizes of the networks.

    Args:
        dimensions: input dimensions.
        widths: widths of the hidden layer.
        draws: number of pairs of networks of each size.
        inputs: number of inputs for each pair.
    """

    dimensions: Sequence[int] = (1, 2, 4, 8)
    widths: Sequence[int] = powers(6, 16)
    draws: int = 64
    inputs: int = 64


@task(cpus=1)
def measure_construction(*, dimension: int, width: int, draws: int, inputs: int) -> Result:
    r"""Compute the difference between the midpoint of two random networks and their mean output.

    Networks are \(f(x) = v^\top \mathrm{relu}(U x)\) with entries of U uniform in
    \(\pm 1/\sqrt d\) and those of v in \(\pm 1/\sqrt h\), inputs of norm \(\sqrt d\).

    Args:
        dimension: d.
        width: h.
        draws: pairs of networks.
        inputs: random ones, for each pair.

    Returns:
        A row per draw: the mean absolute difference over inputs, with units "matched" by the
        construction and in "random" order, and the share of units that found a partner in
        their cell.
    """
    network = nn.Sequential(
        nn.Linear(dimension, width, bias=False), nn.ReLU(), nn.Linear(width, 1, bias=False)
    )
    symmetry = infer_symmetry(network, torch.zeros(2, dimension))
    rows = []
    for draw in range(draws):
        # Every size has its own pairs, so the points of the figure are independent.
        generator = torch.Generator().manual_seed((dimension * 64 + int(log2(width))) * 4096 + draw)
        a, b = _draw(dimension, width, generator), _draw(dimension, width, generator)
        x = torch.randn(inputs, dimension, generator=generator, dtype=torch.float64)
        x *= sqrt(dimension) / x.norm(dim=1, keepdim=True)
        matching = match_cells(symmetry, a, b, seed=draw)
        orders = {
            "matched": matching.permutation,
            "random": Permutation.random(symmetry, seed=draw),
        }
        differences = {state: _difference(a, order.apply(b), x) for state, order in orders.items()}
        rows.append({"draw": draw, **differences, "in_cell": matching.objective[-1] / width})
    return Result(rows)


def _draw(dimension: int, width: int, generator: torch.Generator) -> dict[str, Tensor]:
    shapes = {"0.weight": (width, dimension), "2.weight": (1, width)}
    return {
        name: (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) / sqrt(shape[1])
        for name, shape in shapes.items()
    }


def _difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor], x: Tensor) -> float:
    def outputs(params: Mapping[str, Tensor]) -> Tensor:
        return (x @ params["0.weight"].T).relu() @ params["2.weight"].T

    return float((outputs(average([a, b])) - (outputs(a) + outputs(b)) / 2).abs().mean())


def tasks(config: Config) -> list[Task]:
    """Return one task per size of networks."""
    options = {"draws": config.draws, "inputs": config.inputs}
    return [
        Task.of(measure_construction, dimension=dimension, width=width, **options)
        .with_labels(dimension=dimension, width=width)
        .with_cost(width * (dimension + 4))
        for dimension in config.dimensions
        for width in config.widths
    ]


def rate(dimension: int) -> float:
    """Return the logarithmic slope of the theorem.

    Example:
        >>> rate(1)
        -0.16666666666666666
    """
    return -1 / (2 * dimension + 4)


def slopes(rows: Sequence[Row]) -> dict[tuple[int, str], Slope]:
    """Return the slope of log2 of the mean difference against log2 of the width.

    The result is grouped by dimension and state, and omits groups with too few widths.
    """
    result = {}
    for (dimension,), part in grouped(rows, "dimension").items():
        for state in STATES:
            means = summarize(part, state, by=["width"])
            if len(means) >= FEWEST_WIDTHS:
                x = [log2(mean.group["width"]) for mean in means]
                result[dimension, state] = slope(x, [log2(mean.mean) for mean in means])
    return result


def verdict(rows: Sequence[Row]) -> Verdict:
    """The difference falls with the width at least at the rate of the theorem, in every dimension.

    The logarithmic slope has a 95 % interval at or below -1/(2d+4) with the constructed
    permutation, and is within 0.03 of 0 with a random one. At least five widths with 24 draws each
    are needed.
    """
    fits = slopes(rows)
    dimensions = sorted({row["dimension"] for row in rows})
    draws = map(len, grouped(rows, "dimension", "width").values())
    if len(fits) < len(STATES) * len(dimensions) or min(draws, default=0) < FEWEST_DRAWS:
        return Verdict.inconclusive("Fewer than five widths with 24 draws each.")
    parts, holds = [], True
    for dimension in dimensions:
        matched, random = fits[dimension, "matched"], fits[dimension, "random"]
        holds &= matched.high <= rate(dimension) and abs(random.slope) <= FLAT
        parts.append(
            f"d={dimension}: {_interval_text(matched)}, guaranteed {rate(dimension):.3f}, "
            f"random permutation {_interval_text(random)}"
        )
    return Verdict.of(holds, f"Slope of log error against log width: {'; '.join(parts)}.")


def _interval_text(fit: Slope) -> str:
    return f"{fit.slope:.3f} ({fit.low:.3f} to {fit.high:.3f})"


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the difference against the width, one line per dimension and permutation."""
    figure, (ax,) = panels()
    words = []
    for (dimension,), part in grouped(rows, "dimension").items():
        means = summarize(part, "matched", by=["width"])
        draw_means(ax, means, "width", label=f"d = {dimension}", markersize=3)
        color = ax.lines[-1].get_color()
        random = summarize(part, "random", by=["width"])
        draw_means(ax, random, "width", color=color, linestyle=":", markersize=2)
        start = means[0]
        widths = [mean.group["width"] for mean in means]
        line = [start.mean * (width / widths[0]) ** rate(dimension) for width in widths]
        ax.plot(widths, line, color=color, linestyle="--", linewidth=0.8)
        words.append(f"d = {dimension}, matched: {describe_means(means, 'width', form='.2g')}")
        words.append(f"random: {describe_means(random, 'width', form='.2g')}")
    size_axis(ax, "width", [row["width"] for row in rows])
    ax.set_yscale("log")
    ax.set_ylabel("|f(middle) - mean of f|")
    explain(ax, {"random order": ":", "guaranteed rate": "--"})
    legend_below(ax)
    alt = f"Difference between the middle network and the mean of outputs. {'; '.join(words)}."
    caption = (
        "Solid: constructed permutation; dotted: random permutation; dashed: the guaranteed rate. "
        "Means over pairs with their 95 % intervals."
    )
    return [Picture("rate", figure, alt, caption)]


def table(rows: Sequence[Row]) -> Table:
    """Return slopes by dimension."""
    header = ("dimension", "permutation", "slope", "95 % interval", "guaranteed", "widths", "draws")
    body = []
    for (dimension, state), fit in slopes(rows).items():
        draws = len(select(rows, dimension=dimension)) // fit.n
        guaranteed = f"{rate(dimension):.4f}" if state == "matched" else "-"
        interval = f"{fit.low:.4f} to {fit.high:.4f}"
        body.append(
            (dimension, STATES[state], f"{fit.slope:.4f}", interval, guaranteed, fit.n, draws)
        )
    return Table(header, body, "Slopes of log2 of the mean difference against log2 of the width.")


STUDY = Study(
    name="theorem",
    paper=PAPER,
    item="Theorem 3.1",
    claim="After a constructed permutation, the difference between two untrained networks of one "
    "hidden layer falls at least as fast as the width to the power of -1/(2d+4).",
    scales={
        "smoke": Config((1, 2), powers(5, 9), draws=12, inputs=16),
        "small": Config(),
        "paper": Config(draws=256),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
