"""The digits of scikit-learn: 1797 images of 8×8 pixels."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from onebasin._random import check_seed
from onebasin.data.dataset import Dataset
from onebasin.data.normalization import MeanAndStd
from onebasin.errors import OneBasinError

NUM_TEST = 360
LARGEST_PIXEL = 16.0


def load_digits(*, seed: int = 0, normalization: MeanAndStd | None = None) -> Dataset:
    """Return the digits of scikit-learn: 1437 training and 360 test images.

    All pixels are normalized with one mean and standard deviation.

    Args:
        seed: random seed of the choice of test images.
        normalization: mean and standard deviation of pixels from 0 to 1. Default: those of the
            training images.

    Returns:
        Images flattened to `(n, 64)` float32, ten classes.

    Raises:
        OneBasinError: the seed is invalid.

    Example:
        >>> load_digits().train_inputs.shape
        torch.Size([1437, 64])
    """
    images, labels = _images()
    generator = torch.Generator().manual_seed(check_seed("data", seed))
    order = torch.randperm(len(images), generator=generator)
    test, train = order[:NUM_TEST], order[NUM_TEST:]
    if normalization is None:
        mean, deviation = images[train].mean(), images[train].std()
    else:
        images = images / LARGEST_PIXEL
        mean, deviation = (torch.tensor(values) for values in normalization)
        if mean.numel() != 1:
            raise OneBasinError(f"data: digits has 1 channel, but {mean.numel()} means were given")

    def normalized(rows: Int64[Tensor, " n"]) -> Float32[Tensor, "n 64"]:
        return (images[rows] - mean) / deviation

    return Dataset(
        "digits", normalized(train), labels[train], normalized(test), labels[test], num_classes=10
    )


@cache
def _images() -> tuple[Float32[Tensor, "n 64"], Int64[Tensor, " n"]]:
    """Return all images and classes; callers must not change them."""
    from sklearn import datasets

    pixels, classes = datasets.load_digits(return_X_y=True)
    return torch.as_tensor(pixels).float(), torch.as_tensor(classes).long()
