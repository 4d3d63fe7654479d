"""Random samples of labeled examples: subsets, splits and label noise.

The functions work on labels alone; `Dataset` applies their results to its examples.
"""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from onebasin._random import check_seed, generator_for, wrapped
from onebasin.errors import OneBasinError, check_whole, is_fraction


def sample_rows(
    labels: Int64[Tensor, " n"],
    number: int,
    *,
    num_classes: int,
    seed: int,
    balanced: bool = False,
    name: str = "the data",
    split: str = "train",
) -> Int64[Tensor, " k"]:
    """Return random rows, in ascending order.

    With the same seed, fewer rows are part of more rows.

    Args:
        labels: label of each row.
        number: number of rows to choose.
        num_classes: number of classes.
        seed: random seed of the choice.
        balanced: whether all classes have equally many rows; the first classes have one more if
            the number is not divisible.
        name: name of the dataset, for messages.
        split: name of the split, for messages.

    Raises:
        OneBasinError: there are fewer rows.

    Example:
        >>> sample_rows(torch.tensor([0, 0, 0, 1]), 2, num_classes=2, seed=0, balanced=True)[1]
        tensor(3)
    """
    if not 0 < check_whole(f"max_{split}_examples", number, least=0) <= len(labels):
        raise OneBasinError(
            f"data: subset of {number} {split} examples of {name}; it has {len(labels)}"
        )
    generator = torch.Generator().manual_seed(wrapped(seed))
    order = torch.randperm(len(labels), generator=generator)
    if not balanced:
        return order[:number].sort().values
    parts = []
    for label in range(num_classes):
        wanted = number // num_classes + (label < number % num_classes)
        rows = order[labels[order] == label]
        if len(rows) < wanted:
            raise OneBasinError(
                f"data: balanced subset of {number} {split} examples of {name} needs {wanted} of "
                f"class {label}, which has {len(rows)}; take a smaller one"
            )
        parts.append(rows[:wanted])
    return torch.cat(parts).sort().values


def split_rows(
    labels: Int64[Tensor, " n"],
    first_fraction: float,
    second_fraction: float,
    *,
    num_classes: int,
    seed: int,
    name: str = "the data",
) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " m"]]:
    """Split the rows of each class into two parts, at random.

    Args:
        labels: label of each row.
        first_fraction: fraction of the rows of each class that the first part gets, for the first
            half of the classes. The middle one of an odd number of classes is in the second half.
        second_fraction: the same fraction for the second half of the classes.
        num_classes: number of classes.
        seed: random seed of the split.
        name: name of the dataset, for messages.

    Returns:
        The rows of both parts, in ascending order; each row is in one part.

    Raises:
        OneBasinError: a fraction is not between 0 and 1, or the seed is invalid.
    """
    for fraction in (first_fraction, second_fraction):
        if not is_fraction(fraction):
            raise OneBasinError(
                f"data: invalid fraction {fraction!r} of {name}; pass a number from 0 to 1"
            )
    generator = torch.Generator().manual_seed(check_seed(seed))
    order = torch.randperm(len(labels), generator=generator)
    is_first = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(num_classes):
        rows = order[labels[order] == label]
        fraction = float(first_fraction if label < num_classes // 2 else second_fraction)
        is_first[rows[: round(fraction * len(rows))]] = True
    return is_first.nonzero().flatten(), (~is_first).nonzero().flatten()


def noisy_labels(
    labels: Int64[Tensor, " n"],
    fraction: float,
    *,
    num_classes: int,
    seed: int,
    name: str = "the data",
) -> Int64[Tensor, " n"]:
    """Return labels of which some are replaced by other classes, with equal probabilities.

    Args:
        labels: the true labels.
        fraction: fraction of labels that are replaced.
        num_classes: number of classes.
        seed: random seed of the rows and of their labels.
        name: name of the dataset, for messages.

    Raises:
        OneBasinError: the fraction is not between 0 and 1, the seed is invalid, or there is only
            one class.
    """
    if not is_fraction(fraction) or num_classes < 2:
        raise OneBasinError(
            f"data: label noise for a fraction {fraction!r} of {name} with {num_classes} classes; "
            "pass a fraction from 0 to 1, and at least two classes"
        )
    # A separate stream: subsets and splits with the same seed must not choose the same rows.
    generator = generator_for(check_seed(seed), "label noise")
    noisy = labels.clone()
    number = round(float(fraction) * len(labels))
    rows = torch.randperm(len(labels), generator=generator)[:number]
    steps = torch.randint(1, num_classes, (number,), generator=generator)
    noisy[rows] = (noisy[rows] + steps) % num_classes
    return noisy
