"""Random samples of datasets: subsets, splits and label noise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from onebasin._random import check_seed, generator_for, wrapped
from onebasin.data.examples import select
from onebasin.errors import OneBasinError, check_whole, is_fraction, listed

if TYPE_CHECKING:
    from onebasin.data.dataset import Dataset


def with_label_noise(data: Dataset, share: float, *, seed: int) -> Dataset:
    """Return a dataset with wrong training labels; see `Dataset.with_label_noise`."""
    if not is_fraction(share) or data.num_classes < 2:
        raise OneBasinError(
            f"data: label noise on a share of {share!r} of {data.name} with {data.num_classes} "
            "classes; give a share from 0 to 1, and at least two classes"
        )
    # A separate stream: subsets and splits with the same seed must not choose the same rows.
    generator = generator_for(check_seed("data", seed), "label noise")
    labels = data.train_labels.clone()
    number = round(float(share) * len(labels))
    rows = torch.randperm(len(labels), generator=generator)[:number]
    steps = torch.randint(1, data.num_classes, (number,), generator=generator)
    labels[rows] = (labels[rows] + steps) % data.num_classes
    return data.replace(train_labels=labels)


def split_by_class(
    data: Dataset, first_half: float, second_half: float, *, seed: int
) -> tuple[Dataset, Dataset]:
    """Return two datasets that share the training examples of each class.

    Args:
        data: the dataset.
        first_half: fraction of the examples of each class in the first half of the classes
            that the first dataset gets. The middle one of an odd number of classes is in
            the second half.
        second_half: the same fraction for the second half of the classes.
        seed: random seed of the split.

    Returns:
        Two datasets; each training example of `data` is in one of them.

    Raises:
        OneBasinError: a fraction is not between 0 and 1, or the seed is invalid.
    """
    for share in (first_half, second_half):
        if not is_fraction(share):
            raise OneBasinError(f"data: a share of {share!r} of {data.name}; give one from 0 to 1")
    labels = data.train_labels
    order = torch.randperm(
        len(labels), generator=torch.Generator().manual_seed(check_seed("data", seed))
    )
    goes_first = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(data.num_classes):
        rows = order[labels[order] == label]
        share = float(first_half if label < data.num_classes // 2 else second_half)
        goes_first[rows[: round(share * len(rows))]] = True
    first = with_train_rows(data, goes_first.nonzero().flatten())
    return first, with_train_rows(data, (~goes_first).nonzero().flatten())


def with_train_rows(data: Dataset, rows: Tensor | None) -> Dataset:
    """Return a dataset with some of the training examples; None keeps all."""
    if rows is None:
        return data
    return data.replace(
        train_inputs=select(data.train_examples, rows), train_labels=data.train_labels[rows]
    )


def with_test_rows(data: Dataset, rows: Tensor | None) -> Dataset:
    """Return a dataset with some of the test examples; None keeps all."""
    if rows is None:
        return data
    return data.replace(
        test_inputs=select(data.test_examples, rows), test_labels=data.test_labels[rows]
    )


def with_classes(data: Dataset, classes: Iterable[int]) -> Dataset:
    """Return the examples of some classes; see `Dataset.with_classes`."""
    class_list = listed("data", "classes", classes)
    numbers = [check_whole("data", "a class", each, least=0) for each in class_list]
    if not numbers or max(numbers) >= data.num_classes:
        raise OneBasinError(
            f"data: classes {numbers} of {data.name}; give at least one of 0 to "
            f"{data.num_classes - 1}"
        )
    wanted = torch.tensor(sorted(set(numbers)))
    train = torch.isin(data.train_labels, wanted).nonzero().flatten()
    test = torch.isin(data.test_labels, wanted).nonzero().flatten()
    return with_test_rows(with_train_rows(data, train), test)


def chosen_rows(
    labels: Tensor, number: int | None, data: Dataset, split: str, *, seed: int, balanced: bool
) -> Tensor | None:
    """Return random rows of a split, in ascending order.

    Args:
        labels: labels of the split, `(n,)`.
        number: number of rows; None for all.
        data: the dataset, for its classes and messages.
        split: name of the split, for messages.
        seed: random seed of the choice.
        balanced: whether all classes have equally many rows.

    Returns:
        The rows, or None for all.

    Raises:
        OneBasinError: there are fewer rows.
    """
    if number is None:
        return None
    if not 0 < check_whole("data", f"num_{split}", number, least=0) <= len(labels):
        raise OneBasinError(
            f"data: subset of {number} {split} examples of {data.name}; it has {len(labels)}"
        )
    generator = torch.Generator().manual_seed(wrapped(seed))
    order = torch.randperm(len(labels), generator=generator)
    if not balanced:
        return order[:number].sort().values
    parts = []
    for label, wanted in enumerate(_shares(number, data.num_classes)):
        rows = order[labels[order] == label]
        if len(rows) < wanted:
            raise OneBasinError(
                f"data: balanced subset of {number} {split} examples of {data.name} needs {wanted} "
                f"of class {label}, which has {len(rows)}; take a smaller one"
            )
        parts.append(rows[:wanted])
    return torch.cat(parts).sort().values


def _shares(number: int, parts: int) -> list[int]:
    return [number // parts + (part < number % parts) for part in range(parts)]
