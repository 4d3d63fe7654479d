"""Entezari et al., Figures 1, 5, 7, 10, 11, 13, 17, 21, 22: real networks and permuted copies.

The real world S has networks from different seeds. The model S′ has random permutations of one of
these networks. They are compared before and after the search for a permutation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onebasin_studies.papers.entezari import PAPER
from onebasin_studies.papers.entezari.real_vs_copies import (
    Place,
    agreement_of,
    comparison_table,
    density_picture,
    places_of,
    sweep_picture,
)
from onebasin_studies.papers.entezari.search import Search
from onebasin_studies.papers.entezari.settings import (
    CIFAR10_SAMPLE,
    CIFAR10_SAMPLE_RECIPE,
    SMALL,
    SMOKE_RECIPE,
    Point,
    Series,
    points_of,
    powers,
    published_depths,
    published_widths,
)
from onebasin_studies.runtime.statistics import select, summarize
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks.matching import match_pair, permute_network

FEWEST_PAIRS, FEWEST_PLACES = 3, 4
CORRELATION, GAP = 0.9, 0.2
SHALLOW = Search(schedule="calibrated", num_examples=10_000)
DEEP = Search(5000, schedule="calibrated", num_examples=10_000)
"""Annealing at small scale: calibrated temperatures, fewer steps for slower networks."""


@dataclass(frozen=True)
class Sweep:
    """A series with varying width or depth, and the search for permutations.

    Args:
        over: the varying size, "width" or "depth".
        series: series of networks.
        search: the annealing.
    """

    over: Literal["width", "depth"]
    series: Series
    search: Search = SHALLOW


@dataclass(frozen=True)
class Config:
    """Sweeps, and the number of points of a curve.

    Small scale takes about 145 core-minutes: 80 for the curves, 45 for annealing and 20 for
    training, most of which is shared with the study of width.
    """

    sweeps: Sequence[Sweep] = (
        Sweep("width", Series("mnist", widths=powers(2, 10))),
        Sweep("width", Series(CIFAR10_SAMPLE, CIFAR10_SAMPLE_RECIPE, powers(4, 8), pairs=3)),
        Sweep("depth", Series("mnist", widths=(64,), depths=(1, 2, 4)), DEEP),
    )
    num_points: int = 11


def tasks(config: Config) -> list[Task]:
    """Return the barriers of all pairs of S and S′, unmatched and after either search."""
    return [
        measure.with_labels(sweep=sweep.over, pair=number, world=world, state=state)
        for sweep in config.sweeps
        for point in points_of([sweep.series])
        for number, (world, a, b) in _pairs(point)
        for state, end in _ends(sweep, point, a, b)
        for measure in point.barriers(a, end, config.num_points)
    ]


def _pairs(point: Point) -> Iterator[tuple[int, tuple[str, Task, Task]]]:
    """Yield real pairs, and pairs of copies of the first network of each pair.

    Both networks of a copied pair are permuted, each with its own permutation. A pair never
    contains the unpermuted network.
    """
    for number, (a, b) in enumerate(point.pairs()):
        yield number, ("real", a, b)
        first, second = (
            Task.of(permute_network, **point.setting, params=a, seed=1000 + 2 * number + copy)
            for copy in (0, 1)
        )
        yield number, ("model", first, second)


def _ends(sweep: Sweep, point: Point, a: Task, b: Task) -> Iterator[tuple[str, Task]]:
    """Yield B unmatched, and aligned by annealing and by weight matching."""
    yield "before", b
    yield "after", sweep.search.moved(point, [a, b])[1]
    yield "weights", Task.of(match_pair, **point.setting, a=a, b=b, method="weights")


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """Permuted copies have the barriers of real networks, before and after annealing.

    Before the search, the mean train-loss barriers of S and S′ correlate over architectures at 0.9
    or more, and their mean absolute difference is at most a fifth of the mean barrier. After the
    search, when barriers are low, the mean absolute difference is at most the mean standard
    deviation over pairs of S′. Architectures count with at least three pairs; at least four are
    needed.
    """
    before, after = (_enough(places_of(rows, state)) for state in ("before", "after"))
    if min(len(before), len(after)) < FEWEST_PLACES:
        return Verdict.inconclusive(
            f"{min(len(before), len(after))} architectures have {FEWEST_PAIRS} pairs of both "
            f"worlds, before and after the search; {FEWEST_PLACES} are needed."
        )
    first, then = agreement_of(before), agreement_of(after)
    holds = first.correlation >= CORRELATION
    holds &= first.difference <= GAP * first.level and then.difference <= then.spread
    text = (
        f"Train-loss barriers of real networks and of copies over {first.n} architectures. Before "
        f"the search: mean {first.level:.3f}, mean difference {first.difference:.3f}, correlation "
        f"{first.correlation:.3f}. After annealing: mean {then.level:.3f}, mean difference "
        f"{then.difference:.3f}, correlation {then.correlation:.3f}; std over the pairs of copies "
        f"{then.spread:.3f}.{_weights_sentence(rows)}{_mnist_sentence(rows)}"
    )
    return Verdict.of(bool(holds), text)


def _enough(places: Sequence[Place]) -> list[Place]:
    return [place for place in places if place.n >= FEWEST_PAIRS]


def _weights_sentence(rows: Sequence[Row]) -> str:
    """Return the result of weight matching, which is not part of the claim."""
    places = places_of(rows, "weights")
    if len(places) < FEWEST_PLACES:
        return ""
    real, model = ([getattr(p, world) for p in places] for world in ("real", "model"))
    n = len(places)
    return (
        f" After weight matching, which is not part of the claim: mean {sum(real) / n:.3f} for "
        f"real networks and {sum(model) / n:.3f} for copies."
    )


def _mnist_sentence(rows: Sequence[Row]) -> str:
    selection: dict[str, Any] = {"sweep": "width", "family": "mlp", "data": "mnist", "depth": 1}
    part = select(rows, **selection, state="after", split="train", world="real")
    means = summarize(part, "barrier", by=["width"])
    if not means:
        return ""
    widest = means[-1]
    return (
        f" After annealing, for real networks with one hidden layer of {widest.group['width']} "
        f"units on MNIST: {widest.mean:.3f}."
    )


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw all pairs of S and S′, and the curves over width and depth."""
    sweeps = sorted({row["sweep"] for row in rows}, reverse=True)
    curves = [sweep_picture(rows, sweep, split) for sweep in sweeps for split in ("train", "test")]
    return [density_picture(rows), *curves]


def table(rows: Sequence[Row]) -> Table:
    """Return the barriers of S and S′."""
    return comparison_table(rows)


def _published() -> Config:
    sweeps = [Sweep("width", series, Search()) for series in published_widths(deep=True)]
    sweeps += [Sweep("depth", series, Search()) for series in published_depths()]
    return Config(tuple(sweeps), num_points=25)


STUDY = Study(
    name="real-vs-model",
    paper=PAPER,
    item="Figures 1, 5, 7, 10, 11, 13, 17, 21 and 22",
    claim="Networks from different seeds have the same barriers as randomly permuted copies of one "
    "network, both before and after alignment by annealing.",
    scales={
        "smoke": Config(
            (
                Sweep("width", Series(SMALL, SMOKE_RECIPE, (16,), pairs=2), Search(100)),
                Sweep("depth", Series(SMALL, SMOKE_RECIPE, (16,), (2,), pairs=2), Search(20)),
            ),
            num_points=5,
        ),
        "small": Config(),
        "paper": _published(),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
