"""Batches of inputs and labels, which can be read repeatedly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from onebasin._random import check_seed, wrapped
from onebasin.data.augmentation import Augmentation
from onebasin.data.examples import Examples
from onebasin.errors import check_whole, public
from onebasin.graph.batches import Batches


@dataclass(frozen=True, eq=False)
class LabeledBatches(Batches, Sequence[tuple[Tensor, Tensor]]):
    """Batches in any order with augmentation, computed when they are read.

    Args:
        inputs: all inputs, a tensor `(n, ...)`, or `Pixels` or `Tokens`.
        labels: all labels, `(n,)`.
        batch_size: examples in a batch; the last one may be smaller.
        order: order of the rows; None for the stored order.
        augmentation: augmentation of the images of each batch, or None.
        seed: random seed of the augmentation.
    """

    augmentation: Augmentation | None = None
    seed: int = 0

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Tensor, Tensor]]: ...
    def __getitem__(
        self, index: int | slice
    ) -> tuple[Tensor, Tensor] | list[tuple[Tensor, Tensor]]:
        """Return a batch, or a list of batches; repeated reads are equal."""
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        return self.batch(range(len(self))[index])

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Return a batch; repeated reads are equal."""
        inputs, labels = super().batch(number)
        if self.augmentation is not None:
            seed = wrapped(self.seed * 1_000_003 + number)
            generator = torch.Generator().manual_seed(seed)
            inputs = self.augmentation(inputs, generator)
        return inputs, labels


@public
def batches(
    inputs: Examples,
    labels: Tensor,
    size: int,
    *,
    shuffle_seed: int | None = None,
    augmentation: Augmentation | None = None,
) -> LabeledBatches:
    """Return batches of inputs and labels.

    The result has a length and can be read repeatedly with equal results. For another order in each
    epoch, pass another seed in each epoch.

    Args:
        inputs: all inputs: a tensor `(n, ...)`, or `train_examples` or `test_examples` of a
            dataset, which are normalized batch by batch.
        labels: all labels, `(n,)`.
        size: examples in a batch; the last one may be smaller.
        shuffle_seed: random seed of the order and the augmentation; None keeps the order.
        augmentation: augmentation of the images of each batch, or None.

    Raises:
        OneBasinError: inputs and labels differ in number, the size is not positive, or the
            seed is invalid.

    Examples:
        >>> [len(labels) for _, labels in batches(torch.zeros(7, 2), torch.zeros(7), 3)]
        [3, 3, 1]
    """
    order = None
    if shuffle_seed is not None:
        shuffle_seed = check_seed(shuffle_seed, "shuffle_seed")
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(shuffle_seed))
    size = check_whole("size", size, least=1)
    return LabeledBatches(inputs, labels, size, order, augmentation, shuffle_seed or 0)
