"""Data: what `--data` names, fitted to and checked on the architecture before any long work."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from onebasin.checkpoints import Architecture
from onebasin.errors import OneBasinError
from onebasin.networks import NETWORKS
from onebasin.training.datasets.catalogue import load_dataset
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.fitting import check_fits, check_runs


def fitted(arch: str, data: Dataset) -> tuple[dict[str, Any], Dataset]:
    """Return the sizes with which a built-in architecture takes data, and the data as it does.

    Flat data become images where the architecture takes images. For any other architecture
    there are no sizes, and the data stay what they are.

    Args:
        arch: ARCH.
        data: labelled examples.

    Raises:
        OneBasinError: when the two do not go together.
    """
    if arch not in NETWORKS:
        return {}, data
    fit = NETWORKS[arch].fit
    try:
        sizes = fit(data.input_shape)
    except OneBasinError:
        data = data.as_images()
        sizes = fit(data.input_shape)
    return {**sizes, "num_classes": data.num_classes}, data


def inputs_text(data: Dataset) -> str:
    """Return `--input` for two examples of a dataset, such as 2x1x28x28.

    Args:
        data: laid out as the architecture takes it.
    """
    shape = "x".join(map(str, (2, *data.input_shape)))
    return shape if data.train_inputs.is_floating_point() else f"{shape}:int64<2"


def load(name: str, root: Path | None, num_train: int | None = None, *, seed: int = 0) -> Dataset:
    """Return the dataset that `--data` names, or some of it.

    Args:
        name: `--data`.
        root: `--data-root`, or None.
        num_train: `--num-train`: how many training examples; None for all.
        seed: of which ones; the split into training and test set does not depend on it.

    Raises:
        OneBasinError: when there is no such dataset, or it has fewer examples.
    """
    return load_dataset(name, root=root).subset(num_train, seed=seed)


def laid_out(
    architecture: Architecture,
    data: Dataset,
    *,
    call: str,
    has_classes: bool = True,
    remedy: str = "another --arch-arg",
) -> Dataset:
    """Return data as an architecture can be run on them: as they are, or else as images.

    Args:
        architecture: with its module.
        data: labelled examples.
        call: the command, for the message.
        has_classes: whether the outputs must be one for each class, as a loss takes them.
        remedy: what else to do than to choose other data, for the message.

    Raises:
        OneBasinError: when it cannot, or its outputs are others.
    """
    check = check_fits if has_classes else check_runs
    words = {"call": call, "name": architecture.name, "remedy": remedy}
    try:
        check(architecture.module, data.test_inputs[:2], data, **words)
    except OneBasinError:
        with contextlib.suppress(OneBasinError):
            images = data.as_images()
            check(architecture.module, images.test_inputs[:2], images, **words)
            return images
        raise
    return data
