"""What the studies of Entezari et al. share: networks, data, recipes, and pairs of networks.

Owns the published recipes, so that a network which several studies need is trained once.
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
"""Those of the paper."""

SMALL = "digits"
"""What smoke scale trains on."""

SMOKE_RECIPE = {**MNIST_MLP, "epochs": 30}
DESK_RECIPE = {**MNIST_MLP, "epochs": 40}
"""At small scale networks that cannot fit the data stop after 40 epochs."""

CIFAR10_SAMPLE = {"name": "cifar10", "num_train": 5000, "num_test": 2000}
"""A part of CIFAR-10, which a wide MLP fits within 60 epochs."""

CIFAR10_SAMPLE_RECIPE = {**MNIST_MLP, "epochs": 60, "learning_rate": 0.003}
"""At 0.01 the loss is unsteady, and at the published 0.001 it takes longer."""


@dataclass(frozen=True)
class Series:
    """One family of networks on one dataset, at several widths and depths.

    Args:
        data: of the training and of all measures.
        recipe: of the training.
        widths: each with every depth.
        depths: hidden layers of "mlp", or layers of the others.
        family: "mlp", "shallow-cnn", "vgg" or "resnet".
        pairs: of networks from different seeds, no network in two of them.
        normalizations: how statistics of BatchNorm are treated on the way between networks.
    """

    data: Spec
    recipe: Mapping[str, Any] = field(default_factory=lambda: dict(DESK_RECIPE))
    widths: Sequence[int] = (1024,)
    depths: Sequence[int] = (1,)
    family: str = "mlp"
    pairs: int = 5
    normalizations: Sequence[str] = ("interpolated",)


@dataclass(frozen=True)
class Point:
    """One architecture of a series.

    Args:
        series: that it is of.
        width: of its layers, or of its first stage.
        depth: see `Series`.
    """

    series: Series
    width: int
    depth: int

    @property
    def network(self) -> dict[str, Any]:
        """What tasks call the network; the same in every study."""
        if self.series.family in ("vgg", "resnet"):
            return {"name": f"{self.series.family}{self.depth}", "width": self.width}
        return {"name": self.series.family, "depth": self.depth, "width": self.width}

    @property
    def setting(self) -> dict[str, Any]:
        """Arguments of tasks: data and network."""
        return {"data": self.series.data, "network": self.network}

    @property
    def labels(self) -> dict[str, Any]:
        """What rows of this point say."""
        return {
            "family": self.series.family,
            "data": data_label(self.series.data),
            "width": self.width,
            "depth": self.depth,
        }

    @property
    def cost(self) -> float:
        """Work, relative to other points."""
        inner = self.width * (self.depth - 1)
        return float(self.width * (3000 + inner))

    def networks(self, num: int) -> list[Task]:
        """Return the trainings of as many networks, from seeds 0, 1, ..."""
        recipe, seeds = dict(self.series.recipe), list(range(num))
        found = Task.map(train_networks, **self.setting, recipe=recipe, seeds=seeds)
        return [task.with_cost(self.cost) for task in found]

    def pairs(self) -> list[tuple[Task, Task]]:
        """Return pairs of trainings; no network is in two of them."""
        found = self.networks(2 * self.series.pairs)
        return list(zip(found[::2], found[1::2], strict=True))

    def barriers(self, a: Task, b: Task, num_points: int) -> list[Task]:
        """Return what measures the barriers between two networks, for each normalization."""
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
    """Return what measures the barriers of every pair of some series, with its number.

    Args:
        series: of networks.
        num_points: of each curve.
    """
    return [
        measure.with_labels(pair=number)
        for point in points_of(series)
        for number, (a, b) in enumerate(point.pairs())
        for measure in point.barriers(a, b, num_points)
    ]


def data_label(data: Spec) -> str:
    """Return what rows call a dataset.

    Example:
        >>> data_label({"name": "cifar10", "num_train": 5000, "num_test": 2000})
        'cifar10 (5,000)'
    """
    if isinstance(data, str):
        return data
    number = data.get("num_train")
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
        mlp_widths: of MLPs.
        cnn_widths: of shallow CNNs.
        mlp_depths: of MLPs.
        cnn_depths: of shallow CNNs.
        vgg: widths and depths of VGG.
        resnet: widths and depths of ResNets.
        pairs: of each point.
    """
    deep = {"vgg": vgg, "resnet": resnet}
    found = []
    for data in DATASETS:
        recipe = MNIST_MLP if data == "mnist" else OTHER_MLP
        found += [
            Series(data, recipe, mlp_widths, mlp_depths, pairs=pairs),
            Series(data, CONVOLUTIONAL, cnn_widths, cnn_depths, "shallow-cnn", pairs),
        ]
        found += [
            Series(data, CONVOLUTIONAL, *sizes, family, pairs, ("interpolated", "reset"))
            for family, sizes in deep.items()
            if sizes is not None
        ]
    return tuple(found)


def published_widths(*, deep: bool = False) -> tuple[Series, ...]:
    """Return the series of the figures over the width.

    Args:
        deep: with VGG16 and ResNet18.
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
        deep: with VGG and ResNets.
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
