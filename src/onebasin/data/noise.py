"""Label noise: wrong labels for a fraction of the training examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from onebasin._random import check_seed, generator_for
from onebasin.errors import OneBasinError, is_fraction

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
