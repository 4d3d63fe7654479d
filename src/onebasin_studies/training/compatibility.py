"""Checks that a model can be trained on data."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from onebasin._random import forked
from onebasin.data.dataset import Dataset
from onebasin.errors import ArgumentError, OneBasinError


def check_trainable(model: nn.Module) -> None:
    """Check that a model has trainable parameters.

    Args:
        model: the module.

    Raises:
        OneBasinError: if the model has no parameters or all of them are frozen.
    """
    params = list(model.parameters())
    if not params:
        raise ArgumentError("the network has no parameters; there is nothing to train")
    if not any(param.requires_grad for param in params):
        raise ArgumentError(
            "all parameters of the network are frozen; there is nothing to train, so set "
            "requires_grad of some"
        )


def needs_two(batch_size: int, data: Dataset) -> OneBasinError:
    """Return the error for training steps of one example; see `takes_single`."""
    return ArgumentError(
        f"normalization over a batch needs two examples, but batch_size is {batch_size} "
        f"and {data.name} has {len(data.train_labels)}; make both at least 2"
    )


def takes_single(model: nn.Module, example: Tensor) -> bool:
    """Return whether a model in training mode accepts a batch of one example.

    Batch normalization may reject a single example.

    Args:
        model: the module; the module and the random state of torch are not changed.
        example: one input on the device of the model, `(1, ...)`.
    """
    try:
        with torch.no_grad(), forked():
            copy.deepcopy(model).train()(example)
    except ValueError as error:
        if "more than 1 value per channel" in str(error):
            return False
        raise
    return True
