"""Splits: the training and the test set of a dataset, evaluated on or walked through by tasks."""

from __future__ import annotations

from torch import Tensor

from onebasin.data.dataset import Dataset
from onebasin.errors import OneBasinError
from onebasin.evaluation.evaluation import Evaluator, evaluator
from onebasin.graph.batches import Batches

SPLITS = ("train", "test")


def evaluator_of(data: Dataset, split: str) -> Evaluator:
    """Return what evaluates networks on one split.

    Args:
        data: the dataset.
        split: "train" or "test".

    Raises:
        OneBasinError: when there is no such split.
    """
    return evaluator(*_examples(data, split))


def batches_of(data: Dataset, split: str = "train", *, batch_size: int = 500) -> Batches:
    """Return one split in batches.

    Args:
        data: the dataset.
        split: "train" or "test".
        batch_size: examples in each.

    Raises:
        OneBasinError: when there is no such split.
    """
    return Batches(*_examples(data, split), batch_size=batch_size)


def _examples(data: Dataset, split: str) -> tuple[Tensor, Tensor]:
    if split not in SPLITS:
        raise OneBasinError(f"task: split is {split!r}; it must be train or test")
    if split == "train":
        return data.train_inputs, data.train_labels
    return data.test_inputs, data.test_labels
