"""Data: what `--data` names, checked on the architecture before any long work."""

from __future__ import annotations

import torch

from onebasin.checkpoints import Architecture
from onebasin.checkpoints.messages import one_line
from onebasin.errors import OneBasinError
from onebasin.forward.batches import output_of
from onebasin.training.datasets.dataset import Dataset


def check_data(architecture: Architecture, data: Dataset, *, call: str) -> None:
    """Check that an architecture can be run on a dataset.

    Args:
        architecture: with its module.
        data: labelled examples.
        call: the command, for the message.

    Raises:
        OneBasinError: when it cannot, or its outputs are not one for each class.
    """
    name, module = architecture.name, architecture.module
    try:
        with torch.no_grad():
            outputs = output_of(module(data.test_inputs[:2]))
    # The module is the user's or another library's code and may raise anything.
    except Exception as error:
        shape = "x".join(map(str, data.test_inputs.shape[1:]))
        raise OneBasinError(
            f"{call}: {name} cannot be run on {data.name}, whose inputs are {shape} "
            f"({one_line(error)}); choose other data or another --arch-arg"
        ) from error
    if outputs.ndim != 2 or outputs.shape[1] < data.num_classes:
        raise OneBasinError(
            f"{call}: {name} returns {tuple(outputs.shape)} for two examples but {data.name} has "
            f"{data.num_classes} classes; choose other data or another --arch-arg"
        )
