"""Baselines: what a constant prediction achieves on labeled data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan, log, sqrt
from typing import Any

import torch
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.forward.batches import IGNORED, Batches, split_batch
from onebasin.measuring.evaluation import Evaluation

STANDARD_ERRORS = 2.0
"""A smaller difference from a baseline can be chance."""


@dataclass(frozen=True)
class Baseline:
    r"""The best constant prediction on labeled data: it knows how often each class occurs.

    With \(p_c\) the fraction of examples of class c, its loss is the entropy
    \(-\sum_c p_c \log p_c\), and its error, always answering the most frequent class, is
    \(1 - \max_c p_c\). On balanced classes that is chance.

    Args:
        loss: cross-entropy of the class frequencies.
        error: error of the most frequent class.
        num_examples: number of labels that count.
        num_classes: number of classes, as the model has outputs.
    """

    loss: float
    error: float
    num_examples: int
    num_classes: int

    @property
    def chance_loss(self) -> float:
        """Cross-entropy of equal probabilities for all classes."""
        return log(self.num_classes)

    @property
    def chance_error(self) -> float:
        """Expected error of a random answer."""
        return 1 - 1 / self.num_classes

    def has_lower_error(self, evaluation: Evaluation) -> bool:
        """Return whether a model makes clearly fewer errors: by more than two standard errors."""
        if isnan(evaluation.error):
            return not isnan(evaluation.loss)
        # With no example of another class a constant is perfect, and no model can do better.
        if self.error == 0:
            return evaluation.error == 0
        deviation = sqrt(self.error * (1 - self.error) / max(self.num_examples, 1))
        return evaluation.error < self.error - STANDARD_ERRORS * deviation

    def has_lower_loss(self, evaluation: Evaluation) -> bool:
        """Return whether a model has a lower loss; data of a single class say nothing about it."""
        return evaluation.loss < self.loss or (self.loss == 0 and not isnan(evaluation.loss))

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain JSON values."""
        return {
            "loss": self.loss,
            "error": self.error,
            "chance_loss": self.chance_loss,
            "chance_error": self.chance_error,
            "classes": self.num_classes,
            "examples": self.num_examples,
        }


class ClassCounts:
    """The number of examples of each class, added up batch by batch."""

    def __init__(self) -> None:
        self._counts = torch.zeros(0, dtype=torch.int64)

    def add(self, labels: Tensor) -> None:
        """Add the labels of a batch; those of -100 do not count."""
        labels = labels.reshape(-1)
        counts = labels[labels != IGNORED].long().bincount().cpu()
        if len(counts) > len(self._counts):
            counts, self._counts = self._counts, counts
        self._counts = self._counts.clone()
        self._counts[: len(counts)] += counts

    def result(self, num_classes: int | None = None) -> Baseline:
        """Return the baseline.

        Args:
            num_classes: number of outputs of the model; the classes that occur without it.

        Raises:
            OneBasinError: when no label counts.
        """
        total = int(self._counts.sum())
        if not total:
            raise OneBasinError("evaluate: the data has no labels that count; check the labels")
        fractions = self._counts[self._counts > 0].double() / total
        loss = max(0.0, float(-(fractions * fractions.log()).sum()))
        known = max(len(self._counts), num_classes or 0)
        return Baseline(loss, 1 - float(fractions.max()), total, known)


def baseline_of(data: Iterable[Any], num_classes: int | None = None) -> Baseline:
    """Return the best constant prediction on labeled batches.

    Args:
        data: batches with integer labels; of `Batches` only the labels are read.
        num_classes: as for `ClassCounts.result`.

    Raises:
        OneBasinError: when no label counts.

    Example:
        >>> baseline = baseline_of([(torch.randn(4, 2), torch.tensor([0, 0, 0, 1]))])
        >>> baseline.error, round(baseline.loss, 4)
        (0.25, 0.5623)
    """
    counts = ClassCounts()
    if isinstance(data, Batches) and isinstance(data.labels, Tensor):
        counts.add(data.labels)
    else:
        for batch in data:
            labels = split_batch(batch)[1]
            if labels is not None:
                counts.add(torch.as_tensor(labels))
    return counts.result(num_classes)
