"""Simulated annealing with the settings of Entezari et al."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onebasin.matching._annealing.evaluated import Energy
from onebasin.matching._annealing.runs import Schedule
from onebasin_studies.papers.entezari.settings import Point
from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks.bundles import select_network
from onebasin_studies.tasks.matching import anneal_networks, match_pair
from onebasin_studies.tasks.specs import Spec


@dataclass(frozen=True)
class Search:
    """The budget of simulated annealing (SA2: the energy is the training error of the average).

    Args:
        steps: number of steps; the published tables end at 50,000.
        schedule: "published", from a temperature of 10,000 to 0.00001, or "calibrated".
        num_examples: number of training examples; default: all.
        energy: "error" as published, or "loss".
        seed: random seed.
    """

    steps: int = 50_000
    schedule: Schedule = "published"
    num_examples: int | None = None
    energy: Energy = "error"
    seed: int = 0

    def search(self, point: Point, networks: Sequence[Task]) -> Task:
        """Return the task that anneals networks; its row contains the cost.

        Args:
            point: the architecture of all networks.
            networks: two or more trainings.
        """
        task = Task.of(
            anneal_networks,
            data=reduced(point.series.data, self.num_examples),
            network=point.network,
            networks=list(networks),
            steps=self.steps,
            schedule=self.schedule,
            energy=self.energy,
            seed=self.seed,
        )
        return task.with_cost(self.steps * (30 if point.depth > 1 else 1) * len(networks))

    def moved(self, point: Point, networks: Sequence[Task]) -> list[Task]:
        """Return the reference and the other networks, aligned by annealing."""
        search = self.search(point, networks)
        others = range(1, len(networks))
        return [
            networks[0],
            *(Task.of(select_network, networks=search, number=number) for number in others),
        ]


def matched(point: Point, a: Task, b: Task, method: str, num_examples: int | None) -> Task:
    """Return network B aligned by a matcher.

    Args:
        point: the architecture of both networks.
        a: the reference.
        b: the network to permute.
        method: name in `onebasin.matching.registry.MATCHERS`.
        num_examples: number of training examples for the matcher; default: all.
    """
    data = reduced(point.series.data, num_examples)
    return Task.of(match_pair, data=data, network=point.network, a=a, b=b, method=method)


def reduced(data: Spec, num_examples: int | None) -> Spec:
    """Return the same data with fewer training examples.

    Example:
        >>> reduced("mnist", 10000)
        {'name': 'mnist', 'max_train_examples': 10000}
    """
    if num_examples is None:
        return data
    own = {"name": data} if isinstance(data, str) else dict(data)
    least = min(num_examples, own.get("max_train_examples") or num_examples)
    return {**own, "max_train_examples": least}


def file_name(*words: str) -> str:
    """Return the file name of a figure.

    Example:
        >>> file_name("width", "mlp on cifar10 (10,000)")
        'width-mlp-on-cifar10-10000'
    """
    text = "-".join(words).replace(" ", "-")
    return "".join(letter for letter in text if letter.isalnum() or letter == "-")
