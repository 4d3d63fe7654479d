"""Entezari et al., Figure 18: all pairs of small networks, each at its best permutation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onebasin.evaluation.pairs import Move, measure_pairs
from onebasin.matching.exhaustive import match_exhaustive
from onebasin.symmetry import Permutation
from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.settings import (
    MNIST_MLP,
    SMALL,
    SMALL_RECIPE,
    SMOKE_RECIPE,
    Point,
    Series,
    data_label,
)
from onebasin_studies.runtime.drawing import panels
from onebasin_studies.runtime.statistics import bootstrap, select, summary, values_of
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Result, Task
from onebasin_studies.tasks.specs import (
    SPLITS,
    Spec,
    batches_of,
    data_of,
    evaluator_of,
    network_of,
    symmetry_of,
)

STATES = ("as trained", "best permutation")
KINDS = ("barrier", "indirect")
FEWEST = 5
"""Minimum number of networks."""


@dataclass(frozen=True)
class Config:
    """The networks and the data of the search and the evaluation.

    Small scale takes about 35 core-minutes for 780 pairs with 40,320 permutations each.

    Args:
        data: dataset of the training.
        recipe: hyperparameters of the training.
        width: width of the hidden layer.
        num: number of networks.
        search_data: dataset whose training set selects the best permutation.
        measure_data: dataset of the barriers.
        num_points: number of points of each curve.
    """

    data: Spec = "mnist"
    recipe: Mapping[str, Any] = field(default_factory=lambda: dict(SMALL_RECIPE))
    width: int = 8
    num: int = 40
    search_data: Spec = field(default_factory=lambda: {"name": "mnist", "max_train_examples": 2000})
    measure_data: Spec = field(
        default_factory=lambda: {"name": "mnist", "max_train_examples": 10_000}
    )
    num_points: int = 5


def search_pairs(
    *, data: Spec, network: Spec, reference: Result, others: Sequence[Result]
) -> Result:
    """Find the permutation of each network with the lowest midpoint loss to a reference.

    Args:
        data: dataset whose training set defines the loss.
        network: spec of the architecture; it must be small enough for exhaustive search.
        reference: the reference network.
        others: the networks to permute.

    Returns:
        The permutations, under `NUMBER/GROUP`; and one row per network: number, midpoint_before,
        midpoint_after, seconds.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    symmetry = symmetry_of(module, dataset)
    batches = batches_of(dataset, batch_size=1000)
    rows, tensors = [], {}
    for number, other in enumerate(others):
        matching = match_exhaustive(
            symmetry, reference.tensors, other.tensors, objective="loss", model=module, data=batches
        )
        before, after = (-float(value) for value in matching.objective)
        midpoints = {"midpoint_before": before, "midpoint_after": after}
        rows.append({"number": number, **midpoints, "seconds": float(matching.seconds)})
        indices = matching.permutation.indices
        tensors |= {f"{number}/{group}": index for group, index in indices.items()}
    return Result(rows, tensors)


def measure_all_pairs(
    *,
    data: Spec,
    network: Spec,
    networks: Sequence[Result],
    searches: Sequence[Result] = (),
    num_points: int = 5,
) -> Result:
    """Compute the barriers of all pairs, direct and over a third network.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        networks: two or more networks.
        searches: for each network but the last, `search_pairs` of the following ones; without them
            no network is permuted.
        num_points: number of points of each curve.

    Returns:
        One row per pair, split and quantity; see `PairBarriers.rows`.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    params = [dict(each.tensors) for each in networks]
    symmetry = symmetry_of(module, dataset)

    def move(i: int, j: int) -> Mapping[str, Any]:
        tensors = searches[i].tensors
        indices = {group: tensors[f"{j - i - 1}/{group}"] for group in symmetry.groups}
        return Permutation(symmetry, indices).apply(params[j])

    moved: Move | None = move if searches else None
    evaluates = {split: evaluator_of(dataset, split) for split in SPLITS}
    results = measure_pairs(module, params, evaluates, move=moved, num_points=num_points)
    return Result(
        [
            {"split": split, **row}
            for split, barriers in results.items()
            for row in barriers.rows()
            if row["baseline"] == "linear"
        ]
    )


def tasks(config: Config) -> list[Task]:
    """Return the barriers of all pairs as trained, and at their best permutations."""
    point = Point(Series(config.data, config.recipe), config.width, 1)
    networks = point.networks(config.num)
    searches = [
        Task.of(
            search_pairs,
            data=config.search_data,
            network=point.network,
            reference=reference,
            others=networks[number + 1 :],
        ).with_cost(config.num - number - 1)
        for number, reference in enumerate(networks[:-1])
    ]
    setting = {"data": config.measure_data, "network": point.network, "networks": networks}
    before = Task.of(measure_all_pairs, **setting, num_points=config.num_points)
    after = Task.of(measure_all_pairs, **setting, searches=searches, num_points=config.num_points)
    data = data_label(config.measure_data)
    measures = zip(STATES, (before, after), strict=True)
    return [task.with_labels(state=state, data=data) for state, task in measures]


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """The best permutation lowers barriers, and a path over a third network lowers them further.

    The mean train-loss barrier falls from the trained networks to their best permutations, and from
    there to the paths over a third network. The lower ends of the bootstrap 95 % intervals of
    both falls are above 0. The bootstrap resamples networks, not pairs.
    """
    pairs = {state: _matrices(rows, state) for state in STATES}
    before, after = (pairs[state] for state in STATES)
    if not before or not after or len(before["barrier"]) < FEWEST:
        return Verdict.inconclusive(f"Fewer than {FEWEST} networks were measured in both states.")
    falls = {
        "The best permutation": before["barrier"] - after["barrier"],
        "the path over a third network then": after["barrier"] - after["indirect"],
    }
    bounds = {name: _interval(fall) for name, fall in falls.items()}
    levels = [_mean(before["barrier"]), _mean(after["barrier"]), _mean(after["indirect"])]
    listing = "; ".join(
        f"{name} lowers it by {_mean(falls[name]):.3f} (95 % interval {low:.3f} to {high:.3f})"
        for name, (low, high) in bounds.items()
    )
    text = (
        f"Mean train-loss barrier over the pairs of {len(before['barrier'])} networks: "
        f"{levels[0]:.3f} as trained, {levels[1]:.3f} with the best permutation, {levels[2]:.3f} "
        f"on the best path over a third network. {listing}."
    )
    return Verdict.of(all(low > 0 for low, _ in bounds.values()), text)


def _matrices(rows: Sequence[Row], state: str) -> dict[str, np.ndarray]:
    """Return direct and indirect train-loss barriers as matrices with NaN on the diagonal."""
    part = select(rows, state=state, split="train", quantity="loss")
    if not part:
        return {}
    size = 1 + max(int(row["b"]) for row in part)
    matrices = {kind: np.full((size, size), np.nan) for kind in KINDS}
    for row in part:
        i, j = int(row["a"]), int(row["b"])
        for kind in KINDS:
            matrices[kind][i, j] = matrices[kind][j, i] = row[kind]
    return matrices


def _mean(matrix: np.ndarray) -> float:
    return float(np.nanmean(matrix))


def _interval(matrix: np.ndarray) -> tuple[float, float]:
    """Return the bootstrap interval of a mean over pairs, with resampled networks."""

    def drawn(picks: Sequence[int]) -> float:
        # A network that was drawn twice forms no pair with itself, so that entry is NaN.
        if len(set(picks)) < 2:
            return 0.0
        return _mean(matrix[np.ix_(picks, picks)])

    return bootstrap(range(len(matrix)), drawn)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw histograms of the barriers of all pairs, one panel per kind."""
    figure, axes = panels(2)
    words = []
    part = select(rows, split="train", quantity="loss")
    highest = max([0.01, *(v for kind in KINDS for v in values_of(part, kind))])
    edges = np.linspace(0, highest, 41).tolist()
    for ax, kind in zip(axes, KINDS, strict=True):
        for state in STATES:
            values = values_of(select(part, state=state), kind)
            if values:
                ax.hist(values, edges, alpha=0.6, label=state)
                words.append(f"{_word(kind)}, {state}: {np.mean(values):.3f} on average")
        ax.set_xlabel(f"train loss barrier, {_word(kind)}")
        ax.set_ylabel("pairs")
        ax.legend(frameon=False)
    alt = f"Histograms of the train loss barriers of all pairs. {'; '.join(words)}."
    caption = "Around a third: the larger barrier on the best path through another network."
    return [Picture("histograms", figure, alt, caption)]


def _word(kind: str) -> str:
    return "direct" if kind == "barrier" else "over a third"


def table(rows: Sequence[Row]) -> Table:
    """Return the mean, the median and the maximum of the barriers of every kind."""
    header = ("networks", "way", "split", "quantity", "pairs", "mean", "median", "greatest")
    body = []
    for state in STATES:
        for kind in KINDS:
            for split, quantity in (("train", "loss"), ("test", "loss"), ("train", "error")):
                part = select(rows, state=state, split=split, quantity=quantity)
                values = values_of(part, kind)
                if values:
                    listing = (summary(values).mean, float(np.median(values)), max(values))
                    numbers = [f"{value:.4f}" for value in listing]
                    body.append((state, _word(kind), split, quantity, len(values), *numbers))
    return Table(header, body, "Barriers of all pairs.")


STUDY = Study(
    name="small-networks",
    paper=PAPER,
    item="Figure 18",
    claim="For pairs of many small networks, the best permutation lowers the barrier, and a path "
    "over a third network lowers it further.",
    scales={
        "smoke": Config(
            data=SMALL,
            recipe=SMOKE_RECIPE,
            width=4,
            num=4,
            search_data=SMALL,
            measure_data=SMALL,
        ),
        "small": Config(),
        "paper": Config(
            recipe=MNIST_MLP,
            num=100,
            search_data={"name": "mnist", "max_train_examples": 10_000},
            measure_data="mnist",
            num_points=25,
        ),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
