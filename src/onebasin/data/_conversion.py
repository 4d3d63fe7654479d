"""Conversion of data to a `Dataset` for training."""

from __future__ import annotations

import torch
from torch import Tensor

from onebasin.data._example_splits import AnySplit, ArraySplit
from onebasin.data.data import Data
from onebasin.data.dataset import Dataset
from onebasin.data.examples import Examples, MaskedTokens
from onebasin.errors import OneBasinError

MAX_BYTES = 8 << 30
"""Largest size of the examples of a loader in memory."""


def to_dataset(data: Data) -> Dataset:
    """Return labeled data as a `Dataset` of float32; its test set may be empty.

    Args:
        data: data in a form that the network takes; a loader is read into memory.

    Raises:
        OneBasinError: there are no labels, they are not one class for each example, or the
            inputs are not one tensor.
    """
    train_inputs, train_labels = _arrays(data, data.train)
    if data.test is None:
        test_inputs, test_labels = train_inputs[:0], train_labels[:0]
    else:
        test_inputs, test_labels = _arrays(data, data.test)
    classes = [int(labels.max()) + 1 for labels in (train_labels, test_labels) if len(labels)]
    return Dataset(
        data.name,
        train_inputs,
        train_labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        num_classes=data.num_classes or max(classes),
        class_names=data.class_names,
    )


def _arrays(data: Data, split: AnySplit) -> tuple[Examples, Tensor]:
    if not split.has_labels:
        raise OneBasinError(f"data: {data.name} has no labels; training needs labeled data")
    inputs = split.inputs if isinstance(split, ArraySplit) else None
    labels = split.labels if isinstance(split, ArraySplit) else None
    if isinstance(inputs, MaskedTokens):
        inputs = inputs.tokens
    if not (isinstance(inputs, Examples) and isinstance(labels, Tensor)):
        inputs, labels = _read(data, split)
    if labels.ndim != 1 or labels.is_floating_point():
        raise OneBasinError(
            f"data: labels of {data.name} are {labels.dtype} {tuple(labels.shape)}; training "
            "needs one class for each example"
        )
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        inputs = inputs.float()
    return inputs, labels.long()


def _read(data: Data, split: AnySplit) -> tuple[Tensor, Tensor]:
    """Return all examples of a split as tensors in memory."""
    parts: list[tuple[Tensor, Tensor]] = []
    size = 0
    for inputs, labels in split.batches():
        if not isinstance(inputs, Tensor):
            raise OneBasinError(
                f"data: {data.name} gives several tensors for each example; training takes one"
            )
        parts.append((inputs, torch.as_tensor(labels)))
        size += inputs.nbytes
        if size > MAX_BYTES:
            raise OneBasinError(
                f"data: {data.name} takes more than {MAX_BYTES >> 30} GB; training needs it in "
                "memory, so give fewer examples"
            )
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
