"""Networks, data, hyperparameters and pairs shared by the studies of Entezari et al.

The studies share these settings, so that each network is trained once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks.measuring import measure_barrier
from onebasin_studies.tasks.specs import Spec
from onebasin_studies.tasks.training import train_networks

_SGD = {"optimizer": "sgd", "momentum": 0.9, "stop_loss": 0.01, "precision": "float32"}

MNIST_MLP = {**_SGD, "epochs": 3000, "batch_size": 64, "learning_rate": 0.01}
OTHER_MLP = {**MNIST_MLP, "learning_rate": 0.001}
CONVOLUTIONAL = {
    **_SGD,
    "epochs": 1000,
    "batch_size": 256,
    "learning_rate": 0.02,
    "schedule": "cosine",
}
"""As published: no weight decay, no augmentation, until the training loss is below 0.01."""

DATASETS = ("mnist", "svhn", "cifar10", "cifar100")
"""The datasets of the paper."""

SMALL = "digits"
"""The dataset of smoke scale."""

SMOKE_RECIPE = {**MNIST_MLP, "epochs": 30}
SMALL_RECIPE = {**MNIST_MLP, "epochs": 40}
"""At small scale, networks that cannot fit the data stop after 40 epochs."""

CIFAR10_SAMPLE = {"name": "cifar10", "max_train_examples": 5000, "max_test_examples": 2000}
"""A subset of CIFAR-10, which a wide MLP fits within 60 epochs."""

CIFAR10_SAMPLE_RECIPE = {**MNIST_MLP, "epochs": 60, "learning_rate": 0.003}
"""The loss is unstable at a learning rate of 0.01, and training takes longer at the published
0.001.
"""


@dataclass(frozen=True)
class Series:
    """One family of networks on one dataset, at several widths and depths.

    Args:
        data: dataset of the training and the evaluation.
        recipe: hyperparameters of the training.
        widths: widths, combined with every depth.
        depths: hidden layers of "mlp", or layers of the others.
        family: "mlp", "shallow-cnn", "vgg" or "resnet".
        pairs: number of disjoint pairs of networks from different seeds.
        normalizations: treatments of BatchNorm statistics between networks.
    """

    data: Spec
    recipe: Mapping[str, Any] = field(default_factory=lambda: dict(SMALL_RECIPE))
    widths: Sequence[int] = (1024,)
    depths: Sequence[int] = (1,)
    family: str = "mlp"
    pairs: int = 5
    normalizations: Sequence[str] = ("interpolated",)


@dataclass(frozen=True)
class Point:
    """One architecture of a series.

    Args:
        series: the series.
        width: width of its layers, or of its first stage.
        depth: depth; see `Series`.
    """

    series: Series
    width: int
    depth: int

    @property
    def network(self) -> dict[str, Any]:
        """The network spec for tasks, equal in every study."""
        if self.series.family in ("vgg", "resnet"):
            return {"name": f"{self.series.family}{self.depth}", "width": self.width}
        return {"name": self.series.family, "depth": self.depth, "width": self.width}

    @property
    def setting(self) -> dict[str, Any]:
        """The task arguments "data" and "network"."""
        return {"data": self.series.data, "network": self.network}

    @property
    def labels(self) -> dict[str, Any]:
        """The labels of rows of this point."""
        return {
            "family": self.series.family,
            "data": data_label(self.series.data),
            "width": self.width,
            "depth": self.depth,
        }

    @property
    def cost(self) -> float:
        """Amount of work relative to other points."""
        inner = self.width * (self.depth - 1)
        return float(self.width * (3000 + inner))

    def networks(self, num: int) -> list[Task]:
        """Return the trainings of the given number of networks, from seeds 0, 1, ..."""
        recipe, seeds = dict(self.series.recipe), list(range(num))
        trainings = Task.map(train_networks, **self.setting, recipe=recipe, seeds=seeds)
        return [task.with_cost(self.cost) for task in trainings]

    def pairs(self) -> list[tuple[Task, Task]]:
        """Return disjoint pairs of trainings."""
        trainings = self.networks(2 * self.series.pairs)
        return list(zip(trainings[::2], trainings[1::2], strict=True))

    def barriers(self, a: Task, b: Task, num_points: int) -> list[Task]:
        """Return the barrier tasks of two networks, one per normalization."""
        return [
            Task.of(
                measure_barrier,
                **self.setting,
                a=a,
                b=b,
                num_points=num_points,
                normalization=normalization,
            )
            .with_labels(**self.labels)
            .with_cost(self.cost * num_points)
            for normalization in self.series.normalizations
        ]


def points_of(series: Sequence[Series]) -> list[Point]:
    """Return the architectures of several series."""
    return [Point(s, width, depth) for s in series for depth in s.depths for width in s.widths]


def measured_pairs(series: Sequence[Series], num_points: int) -> list[Task]:
    """Return the barrier tasks of every pair of some series, with the number of the pair.

    Args:
        series: series of networks.
        num_points: number of points of each curve.
    """
    return [
        measure.with_labels(pair=number)
        for point in points_of(series)
        for number, (a, b) in enumerate(point.pairs())
        for measure in point.barriers(a, b, num_points)
    ]


def data_label(data: Spec) -> str:
    """Return the name of a dataset in rows.

    Example:
        >>> data_label({"name": "cifar10", "max_train_examples": 5000, "max_test_examples": 2000})
        'cifar10 (5,000)'
    """
    if isinstance(data, str):
        return data
    number = data.get("max_train_examples")
    return data["name"] if number is None else f"{data['name']} ({number:,})"


def published_series(
    *,
    mlp_widths: Sequence[int],
    cnn_widths: Sequence[int],
    mlp_depths: Sequence[int] = (1,),
    cnn_depths: Sequence[int] = (2,),
    vgg: tuple[Sequence[int], Sequence[int]] | None = None,
    resnet: tuple[Sequence[int], Sequence[int]] | None = None,
    pairs: int = 5,
) -> tuple[Series, ...]:
    """Return the published series on all four datasets.

    Args:
        mlp_widths: widths of MLPs.
        cnn_widths: widths of shallow CNNs.
        mlp_depths: depths of MLPs.
        cnn_depths: depths of shallow CNNs.
        vgg: widths and depths of VGG.
        resnet: widths and depths of ResNets.
        pairs: number of pairs of each point.
    """
    deep = {"vgg": vgg, "resnet": resnet}
    series = []
    for data in DATASETS:
        recipe = MNIST_MLP if data == "mnist" else OTHER_MLP
        series += [
            Series(data, recipe, mlp_widths, mlp_depths, pairs=pairs),
            Series(data, CONVOLUTIONAL, cnn_widths, cnn_depths, "shallow-cnn", pairs),
        ]
        series += [
            Series(data, CONVOLUTIONAL, *sizes, family, pairs, ("interpolated", "reset"))
            for family, sizes in deep.items()
            if sizes is not None
        ]
    return tuple(series)


def published_widths(*, deep: bool = False) -> tuple[Series, ...]:
    """Return the series of the figures over the width.

    Args:
        deep: whether to include VGG16 and ResNet18.
    """
    return published_series(
        mlp_widths=powers(2, 15),
        cnn_widths=powers(3, 10),
        vgg=(powers(4, 7), (16,)) if deep else None,
        resnet=(powers(4, 8), (18,)) if deep else None,
    )


def published_depths(*, deep: bool = False) -> tuple[Series, ...]:
    """Return the series of the figures over the depth.

    Args:
        deep: whether to include VGG and ResNets.
    """
    return published_series(
        mlp_widths=(1024,),
        mlp_depths=(1, 2, 4, 8),
        cnn_widths=(1024,),
        cnn_depths=(2, 4, 6, 8),
        vgg=((64,), (11, 13, 16, 19)) if deep else None,
        resnet=((64,), (18, 34, 50)) if deep else None,
    )


def powers(first: int, last: int) -> tuple[int, ...]:
    """Return powers of two.

    Example:
        >>> powers(2, 4)
        (4, 8, 16)
    """
    return tuple(2**exponent for exponent in range(first, last + 1))
