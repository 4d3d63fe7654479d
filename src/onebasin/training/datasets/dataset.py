"""The form that every dataset has."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled examples, split into training and test sets.

    Args:
        name: what the user calls it.
        train_inputs: normalised inputs, `(n, ...)`.
        train_labels: classes, int64 `(n,)`.
        test_inputs: normalised inputs, `(m, ...)`.
        test_labels: classes, int64 `(m,)`.
        num_classes: classes are 0 to `num_classes - 1`.
    """

    name: str
    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    num_classes: int
