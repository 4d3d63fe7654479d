"""Settings: what the studies of Git Re-Basin train, so that none trains what another has.

Owns the published recipes, their smaller likenesses, and how networks come out of a setting.
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
    """Networks of one kind, trained in one way on one set of data.

    Args:
        data: what they are trained on, and what matchers see.
        network: the architecture.
        recipe: how they are trained, for `train_networks`.
        keep: epochs after which networks are kept; the last one always is.
        augment: arguments of `Augmentation`, or None.
        measured: what curves are measured on, where that is not all of the data.
        cost: of training a network, against other settings.
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
        """What a task that matches networks must know."""
        return {"data": self.data, "network": self.network}

    @property
    def measuring(self) -> dict[str, Any]:
        """What a task that measures networks must know."""
        return {"data": self.measured or self.data, "network": self.network}

    @property
    def data_name(self) -> str:
        """What rows call the data."""
        return self.data if isinstance(self.data, str) else self.data["name"]

    @property
    def last_epoch(self) -> int:
        """After which training ends."""
        return self.recipe["epochs"]

    def trained(self, seeds: Sequence[int], part: Mapping[str, Any] | None = None) -> list[Task]:
        """Return a task per seed that trains a network and keeps it on the way.

        Args:
            seeds: of the networks.
            part: of the training set; see `train_networks`.
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
        """Return a task per seed that makes the trained network; arguments as for `trained`."""
        return [at_epoch(task, self.last_epoch) for task in self.trained(seeds, part)]

    def moved(
        self, a: Task, b: Task, method: str = "weights", options: Mapping[str, Any] | None = None
    ) -> Task:
        """Return B moved to A; one task for all studies that match the same in the same way.

        Args:
            a: the reference.
            b: the network to move.
            method: of matching.
            options: of the method.
        """
        chosen: dict[str, Any] = {"method": method, "options": dict(options or {})}
        task = Task.of(match_pair, **self.matching, a=a, b=b, **chosen)
        return task.with_cost(self.cost * (10 if method == "straight-through" else 1))

    def barrier(self, a: Task, b: Task, num_points: int) -> Task:
        """Return the measure of the barriers between two networks.

        Args:
            a: a network.
            b: another, moved or not.
            num_points: of the line.
        """
        task = Task.of(measure_barrier, **self.measuring, a=a, b=b, num_points=num_points)
        return task.with_cost(self.cost)


def at_epoch(trained: Task, epoch: int) -> Task:
    """Return the network of an epoch that `Setting.trained` keeps."""
    return Task.of(select_network, networks=trained, number=epoch)


def in_pairs(tasks: Sequence[Task]) -> list[tuple[Task, Task]]:
    """Return the first with the second, the third with the fourth, and so on."""
    return list(zip(tasks[::PAIRED], tasks[1::PAIRED], strict=True))


def seeds_of(num_pairs: int) -> range:
    """Return the seeds of some pairs; studies that take more of them share the first."""
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
    "warmup_epochs": 1,  # as in the authors' code; the paper does not tell
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
MNIST_MLP_DESK = Setting(
    data="mnist",
    network="mlp",
    recipe={**ADAM, "epochs": 20},
    keep=KEPT,
    measured={"name": "mnist", "num_train": 10_000},
)
CIFAR_MLP_DESK = Setting(
    data="cifar10",
    network="mlp",
    recipe={**ADAM, "epochs": 20},
    keep=KEPT,
    measured={"name": "cifar10", "num_train": 10_000},
)
CIFAR_MLP_SGD_DESK = replace(
    CIFAR_MLP_DESK, recipe={**SGD, "weight_decay": 0.0, "epochs": 20}, augment=AUGMENT, cost=3.0
)
MNIST_MLP = Setting("mnist", "mlp", {**ADAM, "epochs": 100}, keep=(*KEPT, 40, 60, 80))
CIFAR_MLP = Setting(
    "cifar10",
    "mlp",
    {**ADAM, "batch_size": 100, "epochs": 100},
    keep=(*KEPT, 40, 60, 80),
    augment=AUGMENT,
)
"""As the authors' code has it, but for the optimizer, which it leaves open."""
SMOKE: Mapping[str, Setting] = {"MLP on digits": DIGITS_MLP}
SMALL: Mapping[str, Setting] = {"MLP on MNIST": MNIST_MLP_DESK, "MLP on CIFAR-10": CIFAR_MLP_DESK}
PAPER_MLPS: Mapping[str, Setting] = {"MLP on MNIST": MNIST_MLP, "MLP on CIFAR-10": CIFAR_MLP}


def residual(data: str, width: float | int) -> Setting:
    """Return the published setting of a ResNet20 with LayerNorm.

    Args:
        data: such as "cifar10".
        width: its factor.
    """
    network = {"name": "resnet20", "width": width, "norm": "layer"}
    return Setting(data, network, SGD, augment=AUGMENT, cost=width * width)


def vgg(data: str, multiplier: float | int) -> Setting:
    """Return the setting of a VGG16 with LayerNorm, trained like the ResNet20.

    Args:
        data: such as "cifar10".
        multiplier: of 64 channels in the first stage.
    """
    network = {"name": "vgg16", "width": int(64 * multiplier), "norm": "layer"}
    return Setting(data, network, SGD, augment=AUGMENT, cost=8 * multiplier * multiplier)


@dataclass(frozen=True)
class Pairs:
    """A configuration of pairs that are measured along lines.

    Args:
        settings: by the name that rows and figures give them; the first is the one that the
            claim is about, where it is about one.
        num_pairs: in each setting.
        num_points: of each line.
        options: of matchers, by their names.
    """

    settings: Mapping[str, Setting]
    num_pairs: int = 3
    num_points: int = 25
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
