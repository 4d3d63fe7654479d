"""Settings of the networks that the studies of Git Re-Basin share.

The settings contain the published hyperparameters and smaller versions of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks import match_pair, measure_barrier
from onebasin_studies.tasks.bundles import select_network
from onebasin_studies.tasks.specs import Spec
from onebasin_studies.tasks.training import train_networks

PAIRED = 2


@dataclass(frozen=True)
class Setting:
    """Networks of one architecture, trained in one way on one dataset.

    Args:
        data: spec of the training set, also used by matchers.
        network: spec of the architecture.
        recipe: hyperparameters for `train_networks`.
        keep: epochs of snapshots, in addition to the last one.
        augment: arguments of `Augmentation`, or None.
        measured: spec of the evaluation data, if it differs from `data`.
        cost: cost of training a network, relative to other settings.
    """

    data: Spec
    network: Spec
    recipe: Mapping[str, Any]
    keep: tuple[int, ...] = ()
    augment: Mapping[str, Any] | None = None
    measured: Spec | None = None
    cost: float | int = 1.0

    @property
    def matching(self) -> dict[str, Any]:
        """The task arguments for matching."""
        return {"data": self.data, "network": self.network}

    @property
    def measuring(self) -> dict[str, Any]:
        """The task arguments for evaluation."""
        return {"data": self.measured or self.data, "network": self.network}

    @property
    def data_name(self) -> str:
        """The name of the dataset in rows."""
        return self.data if isinstance(self.data, str) else self.data["name"]

    @property
    def last_epoch(self) -> int:
        """The last epoch of the training."""
        return self.recipe["epochs"]

    def trained(self, seeds: Sequence[int], part: Mapping[str, Any] | None = None) -> list[Task]:
        """Return one training task per seed, with snapshots.

        Args:
            seeds: seeds of the networks.
            part: part of the training set; see `train_networks`.
        """
        tasks = Task.map(
            train_networks,
            **self.matching,
            recipe=self.recipe,
            seeds=list(seeds),
            keep=self.keep,
            augment=self.augment,
            part=part,
        )
        return [task.with_cost(self.cost) for task in tasks]

    def networks(self, seeds: Sequence[int], part: Mapping[str, Any] | None = None) -> list[Task]:
        """Return one task per seed for the trained network; arguments as for `trained`."""
        return [at_epoch(task, self.last_epoch) for task in self.trained(seeds, part)]

    def moved(
        self, a: Task, b: Task, method: str = "weights", options: Mapping[str, Any] | None = None
    ) -> Task:
        """Return B aligned to A, as a task that studies share.

        Args:
            a: the reference.
            b: the network to permute.
            method: matching method.
            options: options of the method.
        """
        chosen: dict[str, Any] = {"method": method, "options": dict(options or {})}
        task = Task.of(match_pair, **self.matching, a=a, b=b, **chosen)
        return task.with_cost(self.cost * (10 if method == "straight-through" else 1))

    def barrier(self, a: Task, b: Task, num_points: int) -> Task:
        """Return the task that computes the barriers between two networks.

        Args:
            a: a network.
            b: the other network.
            num_points: number of points of the line.
        """
        task = Task.of(measure_barrier, **self.measuring, a=a, b=b, num_points=num_points)
        return task.with_cost(self.cost)


def at_epoch(trained: Task, epoch: int) -> Task:
    """Return the network of a snapshot of `Setting.trained`."""
    return Task.of(select_network, networks=trained, number=epoch)


def in_pairs(tasks: Sequence[Task]) -> list[tuple[Task, Task]]:
    """Return the first item with the second, the third with the fourth, and so on."""
    return list(zip(tasks[::PAIRED], tasks[1::PAIRED], strict=True))


def seeds_of(num_pairs: int) -> range:
    """Return the seeds of a number of pairs, always starting with the same seeds."""
    return range(PAIRED * num_pairs)


ADAM = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "batch_size": 500,
    "stop_loss": None,
    "precision": "float32",
}
SGD = {
    "epochs": 250,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "batch_size": 100,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "warmup_epochs": 1,  # as in the authors' code; not specified in the paper
    "stop_loss": None,
}
AUGMENT = {"zoom": [0.8, 1.2], "flip": True, "degrees": 30.0}
KEPT = (1, 2, 3, 5, 10, 20)

DIGITS_MLP = Setting(
    data="digits",
    network={"name": "mlp", "depth": 2, "width": 128},
    recipe={**ADAM, "batch_size": 100, "learning_rate": 3e-3, "epochs": 12},
    keep=(1, 4),
)
MNIST_MLP_SMALL = Setting(
    data="mnist",
    network="mlp",
    recipe={**ADAM, "epochs": 20},
    keep=KEPT,
    measured={"name": "mnist", "max_train_examples": 10_000},
)
CIFAR_MLP_SMALL = Setting(
    data="cifar10",
    network="mlp",
    recipe={**ADAM, "epochs": 20},
    keep=KEPT,
    measured={"name": "cifar10", "max_train_examples": 10_000},
)
CIFAR_MLP_SGD_SMALL = replace(
    CIFAR_MLP_SMALL, recipe={**SGD, "weight_decay": 0.0, "epochs": 20}, augment=AUGMENT, cost=3.0
)
MNIST_MLP = Setting("mnist", "mlp", {**ADAM, "epochs": 100}, keep=(*KEPT, 40, 60, 80))
CIFAR_MLP = Setting(
    "cifar10",
    "mlp",
    {**ADAM, "batch_size": 100, "epochs": 100},
    keep=(*KEPT, 40, 60, 80),
    augment=AUGMENT,
)
"""As in the authors' code, which does not specify the optimizer."""
SMOKE: Mapping[str, Setting] = {"MLP on digits": DIGITS_MLP}
SMALL: Mapping[str, Setting] = {"MLP on MNIST": MNIST_MLP_SMALL, "MLP on CIFAR-10": CIFAR_MLP_SMALL}
PAPER_MLPS: Mapping[str, Setting] = {"MLP on MNIST": MNIST_MLP, "MLP on CIFAR-10": CIFAR_MLP}


def residual(data: str, width: float | int) -> Setting:
    """Return the published setting of a ResNet20 with LayerNorm.

    Args:
        data: name of the dataset, such as "cifar10".
        width: width multiplier.
    """
    network = {"name": "resnet20", "width": width, "norm": "layer"}
    return Setting(data, network, SGD, augment=AUGMENT, cost=width * width)


def vgg(data: str, multiplier: float | int) -> Setting:
    """Return the setting of a VGG16 with LayerNorm, trained like the ResNet20.

    Args:
        data: name of the dataset, such as "cifar10".
        multiplier: multiplier of the 64 channels of the first stage.
    """
    network = {"name": "vgg16", "width": int(64 * multiplier), "norm": "layer"}
    return Setting(data, network, SGD, augment=AUGMENT, cost=8 * multiplier * multiplier)


@dataclass(frozen=True)
class Pairs:
    """Pairs of networks that are evaluated along lines.

    Args:
        settings: settings by their names in rows and figures. A claim about one setting is about
            the first.
        num_pairs: number of pairs in each setting.
        num_points: number of points of each line.
        options: options of matchers, by method.
    """

    settings: Mapping[str, Setting]
    num_pairs: int = 3
    num_points: int = 25
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
