"""Loss and error of constant predictions on labeled data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan, log, sqrt
from typing import Any

from torch import Tensor

from onebasin._dtypes import dtype_name, is_inexact
from onebasin.errors import ArgumentError, public
from onebasin.evaluation._losses import check_classes
from onebasin.evaluation.evaluator import Evaluation
from onebasin.graph.batches import IGNORE_INDEX, Batches, as_iterable, labels_of

STANDARD_ERRORS = 2.0
"""Number of standard errors below which a difference from a baseline is insignificant."""


@dataclass(frozen=True)
class Baseline:
    r"""The best constant prediction on labeled data, from the class frequencies.

    With \(p_c\) the fraction of examples of class c, its loss is the entropy
    \(-\sum_c p_c \log p_c\). Its error, for the most frequent class, is \(1 - \max_c p_c\). On
    balanced classes both equal chance.

    Args:
        loss: cross-entropy of the class frequencies.
        error: error of the most frequent class.
        num_examples: number of labels, ignored ones excluded.
        num_classes: number of classes, or of outputs of the model.
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
        """Return whether a model's error is lower by more than two standard errors."""
        if isnan(evaluation.error):
            return not isnan(evaluation.loss)
        # On a single class, a constant prediction is perfect.
        if self.error == 0:
            return evaluation.error == 0
        standard_error = sqrt(self.error * (1 - self.error) / max(self.num_examples, 1))
        return evaluation.error < self.error - STANDARD_ERRORS * standard_error

    def has_lower_loss(self, evaluation: Evaluation) -> bool:
        """Return whether a model has a lower loss; always true for data of a single class."""
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
    """Number of examples of each class, accumulated batch by batch."""

    def __init__(self) -> None:
        """Initialize without examples."""
        self._counts: Counter[int] = Counter()

    def add(self, labels: Tensor) -> None:
        """Add the labels of a batch; labels of -100 are ignored.

        Raises:
            OneBasinError: the labels are not non-negative integers.
        """
        labels = labels.reshape(-1)
        if len(labels) and is_inexact(labels.dtype):  # An empty list is a float tensor.
            raise ArgumentError(f"labels are {dtype_name(labels.dtype)}; pass integer classes")
        labels = labels.long()
        classes, counts = labels[labels != IGNORE_INDEX].unique(return_counts=True)
        if len(classes):
            check_classes(classes, int(classes.max()) + 1)
        self._counts.update(dict(zip(classes.tolist(), counts.tolist(), strict=True)))

    def result(self, num_classes: int | None = None) -> Baseline:
        """Return the baseline.

        Args:
            num_classes: number of outputs of the model; by default one more than the largest label.

        Raises:
            OneBasinError: the data have no labels.
        """
        total = self._counts.total()
        if not total:
            raise ArgumentError("all labels are ignored or missing; check the labels")
        fractions = [count / total for count in self._counts.values()]
        loss = max(0.0, -sum(fraction * log(fraction) for fraction in fractions))
        known = max(max(self._counts) + 1, num_classes or 0)
        return Baseline(loss, 1 - max(fractions), total, known)


@public
def baseline_of(data: Iterable[Any], num_classes: int | None = None) -> Baseline:
    """Return the best constant prediction on labeled data.

    Args:
        data: batches with integer labels, or `(inputs, labels)` tensors. Only the labels of
            `Batches` and tensors are read.
        num_classes: see `ClassCounts.result`.

    Raises:
        OneBasinError: the data have no labels, or a label is not a class.

    Example:
        >>> import torch
        >>> baseline = baseline_of([(torch.randn(4, 2), torch.tensor([0, 0, 0, 1]))])
        >>> baseline.error, round(baseline.loss, 4)
        (0.25, 0.5623)
    """
    counts = ClassCounts()
    if isinstance(data, Batches) and isinstance(data.labels, Tensor):
        counts.add(data.labels)
    elif isinstance(data, tuple) and len(data) == 2 and all(isinstance(e, Tensor) for e in data):
        counts.add(data[1])
    else:
        for number, batch in enumerate(as_iterable(data)):
            counts.add(labels_of(batch, number))
    return counts.result(num_classes)
