"""Git Re-Basin, Figure 1: the loss on the plane through A, B and B aligned to A."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onebasin.evaluation.planes import Plane, measure_plane
from onebasin_studies.papers.git_rebasin import PAPER
from onebasin_studies.papers.git_rebasin.settings import (
    DIGITS_MLP,
    MNIST_MLP,
    MNIST_MLP_SMALL,
    Setting,
    in_pairs,
    seeds_of,
)
from onebasin_studies.runtime.drawing import panels
from onebasin_studies.runtime.statistics import grouped
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Result, Task
from onebasin_studies.tasks.specs import Spec, data_of, evaluator_of, network_of

NAMES = ("A", "B", "π(B)")
A, B, MOVED = NAMES
SHARE, LEAST_PLANES = 0.1, 3


@dataclass(frozen=True)
class Config:
    """Pairs of networks, with one plane per pair.

    Args:
        setting: setting of the networks.
        num_pairs: number of planes.
        num_points: number of grid points per axis.
        margin: margin of the grid; see `measure_plane`.
    """

    setting: Setting
    num_pairs: int = 1
    num_points: int = 25
    margin: float = 0.25


def measure_loss_plane(
    *,
    data: Spec,
    network: Spec,
    corners: Sequence[Result],
    names: Sequence[str],
    num_points: int,
    margin: float,
    split: str = "train",
) -> Result:
    """Evaluate the loss on the plane through three networks, with interpolated statistics.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        corners: the three networks; the first is at (0, 0), the second on the first axis.
        names: names of the three.
        num_points: number of grid points per axis.
        margin: extent of the grid beyond the networks.
        split: "train" or "test".

    Returns:
        One row per network, named in `point`, and one row per grid point.
    """
    dataset = data_of(data)
    plane = measure_plane(
        network_of(network, dataset),
        {name: dict(each.tensors) for name, each in zip(names, corners, strict=True)},
        evaluator_of(dataset, split),
        num_points=num_points,
        margin=margin,
    )
    return Result([{"split": split, **row} for row in plane.rows()])


def tasks(config: Config) -> list[Task]:
    """Return one plane per pair."""
    setting, targets = config.setting, []
    for pair, (a, b) in enumerate(in_pairs(setting.networks(seeds_of(config.num_pairs)))):
        moved = setting.moved(a, b)
        plane = Task.of(
            measure_loss_plane,
            **setting.measuring,
            corners=[a, b, moved],
            names=NAMES,
            num_points=config.num_points,
            margin=config.margin,
        )
        targets.append(plane.with_labels(pair=pair, data=setting.data_name))
    return targets


def plane_of(rows: Sequence[Row]) -> Plane:
    """Return the plane of one pair from rows."""
    named = {row["point"]: row for row in rows if row["point"]}
    points = {(row["x"], row["y"]): row for row in rows if not row["point"]}
    xs, ys = (tuple(sorted({place[axis] for place in points})) for axis in (0, 1))
    losses, errors = (
        tuple(tuple(points[x, y][quantity] for x in xs) for y in ys)
        for quantity in ("loss", "error")
    )
    return Plane(
        names=NAMES,
        coordinates=tuple((named[name]["x"], named[name]["y"]) for name in NAMES),
        network_losses=tuple(named[name]["loss"] for name in NAMES),
        network_errors=tuple(named[name]["error"] for name in NAMES),
        xs=xs,
        ys=ys,
        losses=losses,
        errors=errors,
        normalization=rows[0]["normalization"],
    )


def saddle_height(plane: Plane, first: str, second: str) -> float:
    """Return the height of the lowest path between two networks above the higher one.

    Paths connect neighboring grid points, and start and end at the grid points that are nearest to
    the networks.

    Args:
        plane: a plane with both networks.
        first: name of a network.
        second: name of the other network.
    """
    from scipy import ndimage

    heights = np.nan_to_num(np.array(plane.losses), nan=np.inf)
    ends = [_nearest(plane, name) for name in (first, second)]
    levels = np.unique(heights[np.isfinite(heights)])
    levels = levels[levels >= max(heights[end] for end in ends)]
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        labels: Any = ndimage.label(heights <= levels[middle], structure=np.ones((3, 3)))
        regions = labels[0]
        is_joined = regions[ends[0]] == regions[ends[1]]
        low, high = (low, middle) if is_joined else (middle + 1, high)
    losses = dict(zip(plane.names, plane.network_losses, strict=True))
    return float(levels[low]) - max(losses[first], losses[second])


def _nearest(plane: Plane, name: str) -> tuple[int, int]:
    x, y = plane.coordinates[plane.names.index(name)]
    row = np.abs(np.array(plane.ys) - y).argmin()
    column = np.abs(np.array(plane.xs) - x).argmin()
    return int(row), int(column)


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """The saddle between A and π(B) is at most a tenth as high as the saddle between A and B.

    This holds on every plane of the training loss. The saddle between A and B is above 0; otherwise
    B lies in the basin of A. At least three planes are needed.
    """
    parts, holds = [], True
    for (pair,), part in grouped(rows, "pair").items():
        plane = plane_of(part)
        near, far = (saddle_height(plane, A, other) for other in (MOVED, B))
        holds &= far > 0 and near <= SHARE * far
        parts.append(f"pair {pair + 1}: {near:.4f} from A to π(B), {far:.4f} from A to B")
    if not parts:
        return Verdict.inconclusive("No plane was measured.")
    text = f"Height of the saddle above the higher endpoint, in training loss, {'; '.join(parts)}."
    if len(parts) < LEAST_PLANES:
        return Verdict.inconclusive(f"{text} At least three planes are needed.")
    return Verdict.of(holds, text)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw each plane as contours of the loss."""
    return [_figure(pair, plane_of(part)) for (pair,), part in grouped(rows, "pair").items()]


def _figure(pair: int, plane: Plane) -> Picture:
    figure, (ax,) = panels()
    plane.plot(ax)
    near, far = (saddle_height(plane, A, other) for other in (MOVED, B))
    alt = (
        "Contours of the training loss on the plane through A, B and π(B). The lowest path rises "
        f"by {near:.4f} from A to π(B), and by {far:.4f} from A to B."
    )
    caption = f"Training loss, pair {pair + 1}. Color levels are denser near the lowest loss."
    return Picture(f"plane-{pair + 1}", figure, alt, caption)


def table(rows: Sequence[Row]) -> Table:
    """Return the losses of the networks and the saddles between them."""
    header = ("pair", "loss of A", "loss of B", "loss of π(B)", "pass A to π(B)", "pass A to B")
    body: list[tuple[Any, ...]] = []
    for (pair,), part in grouped(rows, "pair").items():
        plane = plane_of(part)
        heights = (saddle_height(plane, A, other) for other in (MOVED, B))
        cells = (*plane.network_losses, *heights)
        body.append((pair + 1, *(f"{value:.4f}" for value in cells)))
    return Table(
        header,
        body,
        "Training losses. A saddle is the height of the lowest path on the grid above its "
        "higher endpoint.",
    )


STUDY = Study(
    name="plane",
    paper=PAPER,
    item="Figure 1",
    claim="On the plane through A, B and π(B), π(B) lies in the basin of A and B does not.",
    scales={
        "smoke": Config(DIGITS_MLP, num_points=13),
        "small": Config(MNIST_MLP_SMALL, num_pairs=3),
        "paper": Config(MNIST_MLP, num_pairs=3, num_points=51),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
