"""Git Re-Basin, Section 6: two networks that no permutation can connect."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor, nn

from onebasin.evaluation.evaluator import Evaluation
from onebasin.evaluation.interpolation import interpolate
from onebasin.networks.mlp import MLP
from onebasin.symmetry import Permutation, infer_symmetry
from onebasin_studies.papers.git_rebasin import PAPER
from onebasin_studies.runtime.drawing import legend_below, panels
from onebasin_studies.runtime.statistics import grouped
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict
from onebasin_studies.runtime.task import Result, Task

PUBLISHED = 0.25
TOLERANCE = 0.005
ORDERS = ((0, 1), (1, 0))
"""The orders of a layer of two units."""

I2 = ((1.0, 0.0), (0.0, 1.0))
A = {
    "layers.0.weight": ((-1.0, 0.0), (0.0, -1.0)),
    "layers.0.bias": (1.0, 0.0),
    "layers.1.weight": ((-1.0, 0.0), (0.0, 1.0)),
    "layers.1.bias": (1.0, 0.0),
    "layers.2.weight": ((-1.0, -1.0),),
    "layers.2.bias": (0.0,),
}
B = {
    **A,
    "layers.0.weight": I2,
    "layers.0.bias": (0.0, 1.0),
    "layers.1.weight": ((1.0, 0.0), (0.0, -1.0)),
    "layers.1.bias": (0.0, 1.0),
}


@dataclass(frozen=True)
class Config:
    """Points per side of the input square, and points of a curve."""

    side: int = 100
    num_points: int = 25
    seed: int = 0


def measure_order(
    *, orders: Sequence[Sequence[int]], side: int, num_points: int, seed: int
) -> Result:
    """Compute the error between A and B with the hidden units of B in a given order.

    Inputs are one random point in each cell of a grid over [-1, 1]². The correct answer is yes if
    x1 < 0 and x2 > 0; a network answers yes if its output is nonnegative.

    Args:
        orders: orders of the units of each hidden layer.
        side: number of cells per side.
        num_points: number of points of the curve.
        seed: random seed of the inputs.
    """
    network = MLP(depth=2, width=2, in_features=2, num_classes=1).eval()
    inputs, answers = _square(side, seed)
    symmetry = infer_symmetry(network, (inputs[:2],))
    indices = {name: torch.tensor(o) for name, o in zip(symmetry.groups, orders, strict=True)}
    moved = Permutation(symmetry, indices).apply(_params(B))

    def evaluate(model: nn.Module) -> Evaluation:
        says_yes = model(inputs)[:, 0] >= 0
        return Evaluation(nan, float((says_yes != answers).double().mean()))

    curve = interpolate(network, _params(A), moved, evaluate, num_points=num_points)
    points = zip(curve.alphas, curve.errors, strict=True)
    return Result([{"alpha": alpha, "error": error} for alpha, error in points])


def _square(side: int, seed: int) -> tuple[Tensor, Tensor]:
    corners = torch.cartesian_prod(torch.arange(side), torch.arange(side))
    # Random points, because the midpoint's decision boundary would pass through cell centers.
    shifts = torch.rand(corners.shape, generator=torch.Generator().manual_seed(seed))
    inputs = (corners + shifts) / side * 2 - 1
    return inputs, (inputs[:, 0] < 0) & (inputs[:, 1] > 0)


def _params(values: dict[str, tuple[object, ...]]) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def tasks(config: Config) -> list[Task]:
    """Return one task for each of the four permutations."""
    options = {"side": config.side, "num_points": config.num_points, "seed": config.seed}
    return [
        Task.of(measure_order, orders=orders, **options).with_labels(permutation=_name(orders))
        for orders in itertools.product(ORDERS, repeat=2)
    ]


def _name(orders: Sequence[Sequence[int]]) -> str:
    words = [
        f"layer {layer} swapped" for layer, order in enumerate(orders, 1) if tuple(order) != (0, 1)
    ]
    return ", ".join(words) or "unchanged"


def barriers(rows: Sequence[Row]) -> dict[str, float]:
    """Return the error barrier of each permutation: its excess over the linear baseline."""
    result = {}
    for (name,), curve in grouped(rows, "permutation").items():
        ends = {row["alpha"]: row["error"] for row in curve}
        result[name] = max(r["error"] - ends[0] - r["alpha"] * (ends[1] - ends[0]) for r in curve)
    return result


def verdict(rows: Sequence[Row]) -> Verdict:
    """Both networks make no error, and the barrier is 0.25 for every permutation."""
    heights = barriers(rows)
    if len(heights) < 4:
        return Verdict.inconclusive(f"{len(heights)} of 4 permutations were measured.")
    worst_end = _end_error(rows)
    listing = ", ".join(f"{value:.4f} ({name})" for name, value in heights.items())
    holds = worst_end == 0 and all(abs(v - PUBLISHED) <= TOLERANCE for v in heights.values())
    text = f"Error of A and B: at most {worst_end:.4f}. Error barriers: {listing}; published: 0.25."
    return Verdict.of(holds, text)


def _end_error(rows: Sequence[Row]) -> float:
    """Return the larger error of A and B."""
    return max((row["error"] for row in rows if row["alpha"] in (0, 1)), default=nan)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the error along the line for each permutation."""
    figure, (ax,) = panels()
    styles = itertools.cycle(["-", "--", "-.", ":"])
    for (name,), curve in grouped(rows, "permutation").items():
        points = sorted((row["alpha"], row["error"]) for row in curve)
        ax.plot(*zip(*points, strict=True), next(styles), label=name)
    ax.set_xlabel("α (0 is B, 1 is A)")
    ax.set_ylabel("error")
    ax.set_ylim(-0.01, 0.32)
    legend_below(ax, "hidden units of B")
    listing = ", ".join(f"{value:.3f} with units {name}" for name, value in barriers(rows).items())
    ends = f"{_end_error(rows):.3g} at the endpoints"
    alt = f"Error along the line from B to A, {ends}. Barriers: {listing}."
    caption = "Error over all inputs of the square, for each order of the hidden units of B."
    return [Picture("curves", figure, alt, caption)]


def table(rows: Sequence[Row]) -> Table:
    """Return the barrier of each permutation."""
    body = [(name, f"{value:.4f}", f"{PUBLISHED}") for name, value in barriers(rows).items()]
    return Table(("hidden units of B", "error barrier", "published"), body)


STUDY = Study(
    name="counterexample",
    paper=PAPER,
    item="Section 6",
    claim="Two networks that solve a task without error can have an error barrier of 0.25 for all "
    "four permutations of their hidden units.",
    scales={"smoke": Config(side=50, num_points=9), "small": Config(), "paper": Config(side=1000)},
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
