"""Pairs of networks, linearly connected or independent, shared by all studies of this paper.

Pairs are spawned, matched or independent. Independent networks are those of the studies of Git
Re-Basin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onebasin.evaluation.curves import Normalization
from onebasin_studies.papers.git_rebasin import settings
from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks import measure_barrier, train_networks
from onebasin_studies.tasks.features import ALPHAS, measure_features
from onebasin_studies.tasks.specs import Spec

SPAWNED, MATCHED, INDEPENDENT = "spawned", "matched", "independent"
KINDS = (SPAWNED, MATCHED, INDEPENDENT)
"""Spawned from a shared trunk, aligned by weight matching, or neither."""

BARRIER, FEATURES = "barrier", "features"
CONNECTED = 0.02
"""Maximum test-error barrier between two connected networks."""


@dataclass(frozen=True)
class Spawned:
    """Pairs that share their first epochs.

    Args:
        data: spec of the training set.
        network: spec of the architecture.
        recipe: hyperparameters of `train`, for all epochs.
        spawn_epoch: number of shared epochs; afterwards orders of examples differ.
        normalization: treatment of statistics between two networks.
        measured: spec of the evaluation data, if it differs from `data`.
        cost: cost of training a network, relative to other settings.
    """

    data: Spec
    network: Spec
    recipe: Mapping[str, Any]
    spawn_epoch: int
    normalization: Normalization = "interpolated"
    measured: Spec | None = None
    cost: float | int = 1.0

    def networks(self, pair: int, spawn_epoch: int | None = None) -> list[Task]:
        """Return both networks of a pair; every pair has its own trunk.

        Args:
            pair: number of the pair.
            spawn_epoch: replaces that of the setting.
        """
        shared = {"spawn_epoch": spawn_epoch or self.spawn_epoch, "trunk_seed": pair}
        recipe = {**self.recipe, **shared}
        seeds = [1000 + 2 * pair, 1001 + 2 * pair]
        tasks = Task.map(
            train_networks, data=self.data, network=self.network, recipe=recipe, seeds=seeds
        )
        return [task.with_cost(self.cost) for task in tasks]


@dataclass(frozen=True)
class Config:
    """Settings and their measurement.

    Small scale takes 50 to 55 core-minutes per study: 40 for training and 6 for barriers, which the
    studies share, and 4 to 8 for features.

    Args:
        spawned: settings of spawned pairs, by their names in rows and figures.
        matched: settings of matched pairs, by their names in rows and figures.
        num_pairs: number of pairs of each setting.
        alphas: interpolation weights of A.
        num_points: number of points of each line.
        also: further matching methods, for pairs of the kind "matched by METHOD".
    """

    spawned: Mapping[str, Spawned]
    matched: Mapping[str, settings.Setting]
    num_pairs: int = 3
    alphas: tuple[float, ...] = ALPHAS
    num_points: int = 11
    also: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Pair:
    """A pair of networks to measure.

    Args:
        labels: setting, kind and number of the pair.
        model: the task arguments "data" and "network".
        a: network A.
        b: network B.
        normalization: treatment of statistics between them.
    """

    labels: Mapping[str, Any]
    model: Mapping[str, Any]
    a: Task
    b: Task
    normalization: Normalization = "interpolated"

    def barrier(self, num_points: int) -> Task:
        """Return the task that computes barriers on the test set."""
        task = Task.of(measure_barrier, **self._setting(), splits=["test"], num_points=num_points)
        return task.with_labels(**self.labels, quantity=BARRIER)

    def features(self, measure: str, alphas: Sequence[float]) -> Task:
        """Return the task that computes a measure at every layer."""
        task = Task.of(measure_features, **self._setting(), measure=measure, alphas=list(alphas))
        return task.with_labels(**self.labels, quantity=FEATURES)

    def _setting(self) -> dict[str, Any]:
        return {**self.model, "a": self.a, "b": self.b, "normalization": self.normalization}


def pairs_of(config: Config) -> list[Pair]:
    """Return all pairs of a configuration: connected and independent ones in every setting."""
    assert config.num_pairs > 1, "independent pairs combine two spawned pairs"
    assert config.spawned.keys().isdisjoint(config.matched), "one name is that of two settings"
    pairs = []
    for name, spawned in config.spawned.items():
        pairs += spawned_pairs(name, spawned, config.num_pairs)
    for name, setting in config.matched.items():
        pairs += _matched_pairs(name, setting, config)
    return pairs


def measured(config: Config, measure: str) -> list[Task]:
    """Return the tasks of a study: one measure and the barrier of every pair."""
    return [
        task
        for pair in pairs_of(config)
        for task in (pair.barrier(config.num_points), pair.features(measure, config.alphas))
    ]


def spawned_pairs(
    name: str, setting: Spawned, num_pairs: int, spawn_epoch: int | None = None
) -> list[Pair]:
    """Return the spawned pairs of a setting, and as many independent pairs.

    Args:
        name: name of the setting.
        setting: the setting.
        num_pairs: number of pairs of each kind, at least two.
        spawn_epoch: replaces that of the setting.
    """
    networks = [setting.networks(pair, spawn_epoch) for pair in range(num_pairs)]
    model = {"data": setting.measured or setting.data, "network": setting.network}
    pairs = []
    for number, (a, b) in enumerate(networks):
        # B of the next pair has another trunk, so no further training is needed.
        _, other = networks[(number + 1) % num_pairs]
        for kind, end in ((SPAWNED, b), (INDEPENDENT, other)):
            labels = {"setting": name, "kind": kind, "pair": number}
            pairs.append(Pair(labels, model, a, end, setting.normalization))
    return pairs


def _matched_pairs(name: str, setting: settings.Setting, config: Config) -> list[Pair]:
    networks = setting.networks(settings.seeds_of(config.num_pairs))
    kinds = {MATCHED: "weights", **{f"{MATCHED} by {method}": method for method in config.also}}
    pairs = []
    for number, (a, b) in enumerate(settings.in_pairs(networks)):
        ends = {kind: setting.moved(a, b, method) for kind, method in kinds.items()}
        for kind, end in {**ends, INDEPENDENT: b}.items():
            labels = {"setting": name, "kind": kind, "pair": number}
            pairs.append(Pair(labels, setting.matching, a, end))
    return pairs


SGD = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "batch_size": 128,
    "schedule": "steps",
    "stop_loss": None,
    "precision": "float32",
}
PUBLISHED = {**SGD, "epochs": 160, "milestones": [80, 120]}
CIFAR_SUBSET = {"name": "cifar10", "max_train_examples": 10_000}

SMOKE_SPAWNED = Spawned(
    data="digits",
    network={"name": "mlp", "depth": 2, "width": 48},
    recipe={**SGD, "learning_rate": 0.05, "epochs": 12, "milestones": [6, 9]},
    spawn_epoch=4,
)
SMOKE_MATCHED = settings.Setting(
    data="digits",
    network={"name": "mlp", "depth": 2, "width": 128},
    recipe={**settings.ADAM, "batch_size": 100, "epochs": 24},
)
MNIST_SPAWNED = Spawned(
    data="mnist",
    network="mlp",
    recipe={**SGD, "epochs": 10, "milestones": [5, 8]},
    spawn_epoch=1,
)
CIFAR_SPAWNED = Spawned(
    data=CIFAR_SUBSET,
    network={"name": "vgg11", "width": 16},
    recipe={**SGD, "epochs": 20, "milestones": [10, 15]},
    spawn_epoch=5,
    normalization="reset",
    measured={"name": "cifar10", "max_train_examples": 2000, "max_test_examples": 2000},
    cost=5,
)
PAPER_SPAWNED = {
    "MLP on MNIST, spawned": Spawned("mnist", "mlp", PUBLISHED, 5),
    "VGG16 on CIFAR-10": Spawned("cifar10", "vgg16", PUBLISHED, 5, "reset", cost=50),
    "ResNet20 on CIFAR-10": Spawned(
        "cifar10", {"name": "resnet20", "norm": "batch"}, PUBLISHED, 5, "reset", cost=10
    ),
}

SMOKE = Config(
    spawned={"MLP on digits, spawned": SMOKE_SPAWNED},
    matched={"MLP on digits": SMOKE_MATCHED},
    num_pairs=2,
    num_points=5,
)
SMALL = Config(
    spawned={"MLP on MNIST, spawned": MNIST_SPAWNED, "VGG11 on CIFAR-10": CIFAR_SPAWNED},
    matched={"MLP on MNIST": settings.MNIST_MLP_SMALL},
)
PAPER_CONFIG = Config(
    spawned=PAPER_SPAWNED,
    matched={
        "MLP on MNIST": settings.MNIST_MLP,
        "ResNet20 32x on CIFAR-10": settings.residual("cifar10", 32),
    },
    num_pairs=5,
    num_points=25,
)
