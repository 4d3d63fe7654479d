"""Datasets by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from onebasin._random import check_seed
from onebasin.data._decoded import HubSet, Normalization, load_set
from onebasin.data._decoding import Progress, Reading
from onebasin.data._normalization import MeanAndStd
from onebasin.data._sources import SPLIT_NAMES
from onebasin.data.dataset import Dataset
from onebasin.errors import OneBasinError, check_choice, public

NUM_TEST = 360
LARGEST_PIXEL = 16.0


@public
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
    generator = torch.Generator().manual_seed(check_seed(seed))
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
        "digits",
        normalized(train),
        labels[train],
        test_inputs=normalized(test),
        test_labels=labels[test],
        num_classes=10,
    )


@cache
def _images() -> tuple[Float32[Tensor, "n 64"], Int64[Tensor, " n"]]:
    """Return all images and classes; callers must not change them."""
    from sklearn import datasets

    pixels, classes = datasets.load_digits(return_X_y=True)
    return torch.as_tensor(pixels).float(), torch.as_tensor(classes).long()


Layout = Literal["images", "flat"]
"""Shape of inputs: `(n, channels, height, width)`, or `(n, numbers)`."""

HUB_PREFIX = "hf:"
DIGITS = "digits"

DATASETS: Mapping[str, HubSet | None] = MappingProxyType(
    {
        DIGITS: None,
        "mnist": HubSet("ylecun/mnist", normalization=((0.1307,), (0.3081,))),
        "fashion-mnist": HubSet(
            "zalando-datasets/fashion_mnist", normalization=((0.2860,), (0.3530,))
        ),
        "svhn": HubSet(
            "ufldl-stanford/svhn",
            config="cropped_digits",
            normalization=((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        ),
        "cifar10": HubSet(
            "uoft-cs/cifar10",
            normalization=((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ),
        "cifar100": HubSet(
            "uoft-cs/cifar100",
            normalization=((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
            reading=Reading(label_column="fine_label"),
        ),
        "imagenet": HubSet(
            "ILSVRC/imagenet-1k",
            normalization=((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            reading=Reading(image_size=224, crop=0.875),
            test_splits=("validation", "test"),  # the labels of its test set on the hub are secret
        ),
    }
)
"""The datasets by name; `digits` is part of scikit-learn, the others are on the hub."""


@public
def load_dataset(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    seed: int = 0,
    max_train_examples: int | None = None,
    max_test_examples: int | None = None,
    balanced: bool = False,
    label_noise: float = 0.0,
    layout: Layout | None = None,
    normalization: Normalization | None = None,
    config: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    progress: Progress | None = None,
    **reading: Any,
) -> Dataset:
    """Return a dataset by name.

    A dataset other than `digits` is read from the folder `<root>/<name>` of parquet files, or
    from the Hugging Face hub without such a folder. It is decoded once, into a cache of
    memory-mapped files.

    Args:
        name: one of `DATASETS`; `owner/name` on the hub, or `hf:name` without an owner; or a
            folder in `root`.
        root: folder with one subfolder for each dataset. Default: the environment variable
            ONEBASIN_DATA.
        cache: folder of the cache. Default: the environment variable ONEBASIN_CACHE, or the cache
            folder of the platform.
        seed: random seed of the test split of `digits`, subsets and label noise.
        max_train_examples: number of training examples; see `Dataset.subset`.
        max_test_examples: number of test examples.
        balanced: whether all classes have equally many examples.
        label_noise: fraction of wrong training labels; see `Dataset.with_label_noise`.
        layout: `images` or `flat`. Default: the layout of the dataset.
        normalization: mean and standard deviation of each channel of pixels from 0 to 1.
            Default: those of `DATASETS`, or of the training images.
        config: name of a configuration of a dataset on the hub.
        train_split: name of the training split. Default: `train`.
        test_split: name of the test split. Default: `test`, or `validation`.
        progress: function of the number of decoded rows and their total.
        reading: further fields of `Reading`: `input_column`, `label_column`, `image_size`,
            `crop`, `tokenizer`, `max_length`.

    Returns:
        The dataset; images are float32 `(n, channels, height, width)`, texts int64 tokens
        `(n, max_length)`.

    Raises:
        OneBasinError: the name is unknown (the message lists known names), the dataset
            cannot be fetched, a column is missing, or a row is broken.

    Examples:
        >>> load_dataset("digits", max_train_examples=100, layout="images")
        Dataset('digits', 100 train and 360 test examples of shape (1, 8, 8), 10 classes)
    """
    if layout is not None:
        check_choice("layout", layout, Layout)
    seed = check_seed(seed)
    if name == DIGITS:
        data = load_digits(seed=seed)
    else:
        source = _set(name, data_root(root))
        splits = {
            "train": (train_split,) if train_split else SPLIT_NAMES["train"],
            "test": (test_split,) if test_split else source.test_splits,
        }
        source = replace(
            source,
            config=config or source.config,
            normalization=normalization or source.normalization,
            reading=_reading(source.reading, reading),
        )
        data = load_set(name, source, splits, cache=cache, progress=progress)
    data = data.subset(max_train_examples, max_test_examples, seed, balanced=balanced)
    data = data.with_label_noise(label_noise, seed=seed) if label_noise else data
    return _with_layout(data, layout)


def _with_layout(data: Dataset, layout: Layout | None) -> Dataset:
    if layout is None:
        return data
    return data.as_images() if layout == "images" else data.flattened()


def _set(name: str, root: Path | None) -> HubSet:
    """Return the source of a dataset."""
    entry = DATASETS.get(name)
    hub = name.removeprefix(HUB_PREFIX)
    if entry is None and (hub != name or "/" in name):
        entry = HubSet(hub)
    folder = None if root is None else root / hub
    if folder is not None and folder.is_dir():
        return replace(entry or HubSet(hub), folder=folder)
    if entry is None:
        raise unknown_dataset(name, root)
    return entry


def unknown_dataset(name: str, root: Path | None, kinds: str = "") -> OneBasinError:
    """Return the error for an unknown name of data.

    Args:
        name: the name.
        root: folder with one subfolder for each dataset, or None.
        kinds: other valid forms, with a comma at the end.
    """
    known = ", ".join(sorted(DATASETS))
    problem = (
        f"{name!r} is not a file, a folder or a known dataset"
        if kinds
        else (f"unknown dataset {name!r}")
    )
    close = get_close_matches(name.lower(), DATASETS, n=1)
    hint = f"did you mean {close[0]!r}? Known" if close else "known"
    return OneBasinError(
        f"data: {problem}; {hint} are: {known}; others are {kinds}OWNER/NAME on the "
        f"Hugging Face hub, or a folder of parquet files in {root or 'root='}"
    )


def data_root(given: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder with one subfolder for each dataset, or None.

    Args:
        given: the folder. Default: the environment variable ONEBASIN_DATA.

    Raises:
        OneBasinError: it is not a folder.
    """
    root = given if given is not None else os.environ.get("ONEBASIN_DATA") or None
    if root is None:
        return None
    if not Path(root).is_dir():
        source = "root=" if given is not None else "ONEBASIN_DATA"
        raise OneBasinError(f"data: {source} is {os.fspath(root)}, which is not a folder")
    return Path(root)


def _reading(default: Reading, options: Mapping[str, Any]) -> Reading:
    try:
        return replace(default, **options)
    except TypeError as error:
        known = ", ".join(Reading.__dataclass_fields__)
        raise OneBasinError(
            f"data: unknown options among {', '.join(options)}; known are: {known}"
        ) from error
