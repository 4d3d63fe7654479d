"""Random splits of training examples into two datasets, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from onebasin._random import check_seed
from onebasin.data.subsets import with_train_rows
from onebasin.errors import OneBasinError, is_fraction

if TYPE_CHECKING:
    from onebasin.data.dataset import Dataset


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
