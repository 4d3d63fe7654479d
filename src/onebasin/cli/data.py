"""Data: what `--data` names, fitted to and checked on the architecture before any long work."""

from __future__ import annotations

from typing import Any

from onebasin.checkpoints import Architecture
from onebasin.errors import OneBasinError
from onebasin.networks import NETWORKS
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.fitting import check_fits


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


def check_data(architecture: Architecture, data: Dataset, *, call: str) -> None:
    """Check that an architecture can be run on a dataset.

    Args:
        architecture: with its module.
        data: labelled examples.
        call: the command, for the message.

    Raises:
        OneBasinError: when it cannot, or its outputs are not one for each class.
    """
    check_fits(
        architecture.module,
        data.test_inputs[:2],
        data,
        call=call,
        name=architecture.name,
        remedy="another --arch-arg",
    )
