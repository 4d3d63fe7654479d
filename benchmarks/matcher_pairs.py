"""Pairs of networks for the comparison of matchers, trained once and stored in a folder.

The two networks of each kind have the seeds 0 and 1. Their data, MNIST and CIFAR-10, are in the
folder that the environment variable ONEBASIN_DATA names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from torch import Tensor, nn

from onebasin.data.dataset import Dataset
from onebasin.data.datasets import load_dataset
from onebasin.networks import MLP, VGG, ResNet20, VisionTransformer
from onebasin_studies.training.recipe import Recipe
from onebasin_studies.training.train import train


@dataclass(frozen=True)
class PairCase:
    """A kind of network, and its training.

    Args:
        build: function that returns the network.
        dataset: name of the dataset.
        layout: layout of the inputs, as for `load_dataset`.
        recipe: hyperparameters of the training.
        num_seen: number of training examples for matchers and repairs.
        num_tested: number of test examples.
        is_chain: whether it is a chain of linear layers, for which annealing is fast.
        classes: classes that each network is trained on; all if it is empty.
    """

    build: Callable[[], nn.Module]
    dataset: str
    layout: str
    recipe: Recipe
    num_seen: int = 10_000
    num_tested: int = 10_000
    is_chain: bool = False
    classes: tuple[range, ...] = ()

    def data(self, root: Path | None) -> Dataset:
        """Return the dataset."""
        return load_dataset(self.dataset, root=root, layout=self.layout)  # type: ignore[arg-type]

    def networks(
        self, data: Dataset, folder: Path, seeds: Sequence[int] = (0, 1)
    ) -> list[dict[str, Tensor]]:
        """Return the two networks; what the folder has of them is not trained again."""
        if not self.classes:
            return self._train(data, folder, seeds)
        pairs = zip(self.classes, seeds, strict=True)
        parts = [
            self._train(data.with_classes(classes), folder / f"{classes[0]}-{classes[-1]}", [seed])
            for classes, seed in pairs
        ]
        return [*chain.from_iterable(parts)]

    def _train(self, data: Dataset, folder: Path, seeds: Sequence[int]) -> list[dict[str, Tensor]]:
        found = train(self.build(), data, seeds=seeds, recipe=self.recipe, checkpoints=folder)
        return [network.params for network in found]


def _mlp(width: int) -> PairCase:
    recipe = Recipe(epochs=10, batch_size=500, learning_rate=1e-3, stop_loss=None)
    return PairCase(
        lambda: MLP(depth=3, width=width, in_features=784), "mnist", "flat", recipe, is_chain=True
    )


def _image(build: Callable[[], nn.Module], epochs: int, learning_rate: float) -> PairCase:
    recipe = Recipe(
        epochs=epochs,
        batch_size=128,
        optimizer="sgd",
        momentum=0.9,
        learning_rate=learning_rate,
        schedule="cosine",
        warmup_epochs=1.0,
        weight_decay=5e-4,
        stop_loss=None,
    )
    # Each position is a sample of a convolutional feature, so fewer images are enough.
    return PairCase(build, "cifar10", "images", recipe, num_seen=2_000, num_tested=5_000)


PAIRS: Mapping[str, PairCase] = {
    "mlp-64": _mlp(64),
    "mlp-512": _mlp(512),
    "vgg11": _image(lambda: VGG(depth=11, width=16, norm="batch"), 8, 0.05),
    "resnet20": _image(lambda: ResNet20(width=1, norm="batch"), 4, 0.1),
}
"""The kinds of networks by name."""

VIT = PairCase(
    lambda: VisionTransformer(
        depth=3, width=64, num_heads=4, hidden=128, patch_size=7, in_channels=1, image_size=28
    ),
    "mnist",
    "images",
    Recipe(epochs=5, batch_size=100, learning_rate=1e-3, stop_loss=None),
)
"""A small vision transformer."""

MNIST_SPLIT = replace(_mlp(128), classes=(range(5), range(5, 10)))
"""Two networks with disjoint classes: A knows the digits 0 to 4, B the digits 5 to 9."""
