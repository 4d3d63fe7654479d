"""Splits: evaluators and batches of the training and the test set."""

from __future__ import annotations

from torch import Tensor

from onebasin.data.dataset import Dataset
from onebasin.errors import OneBasinError
from onebasin.evaluation.evaluator import Evaluator, evaluator
from onebasin.graph.batches import Batches

SPLITS = ("train", "test")


def evaluator_of(data: Dataset, split: str) -> Evaluator:
    """Return the evaluator of networks on one split.

    Args:
        data: the dataset.
        split: "train" or "test".

    Raises:
        OneBasinError: if the split is unknown.
    """
    return evaluator(*_examples(data, split))


def batches_of(data: Dataset, split: str = "train", *, batch_size: int = 500) -> Batches:
    """Return the batches of one split.

    Args:
        data: the dataset.
        split: "train" or "test".
        batch_size: examples per batch.

    Raises:
        OneBasinError: if the split is unknown.
    """
    return Batches(*_examples(data, split), batch_size=batch_size)


def _examples(data: Dataset, split: str) -> tuple[Tensor, Tensor]:
    if split not in SPLITS:
        raise OneBasinError(f"task: split is {split!r}; it must be train or test")
    if split == "train":
        return data.train_inputs, data.train_labels
    return data.test_inputs, data.test_labels
