"""Fitting: whether a model can learn, and takes a dataset; it is run on an example or two."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.checkpoints.messages import one_line
from onebasin.errors import OneBasinError
from onebasin.forward.batches import output_of
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.draws import forked


def check_runs(
    model: Callable[[Tensor], Any],
    examples: Tensor,
    data: Dataset,
    *,
    call: str,
    name: str,
    remedy: str,
) -> Any:
    """Check that a model can be run on data, and return what it gives for the examples.

    Args:
        model: the module, or what stands for it.
        examples: two inputs of the data, where the model is.
        data: what they are of.
        call: who asks, for messages.
        name: what the model is called there.
        remedy: what else to do than to choose other data.

    Raises:
        OneBasinError: when it cannot.
    """
    try:
        with torch.no_grad():
            return model(examples)
    # The module is the user's or another library's code and may raise anything.
    except Exception as error:
        shape = "x".join(map(str, examples.shape[1:]))
        raise OneBasinError(
            f"{call}: {name} cannot be run on {data.name}, whose inputs are {shape} "
            f"({one_line(error)}); choose other data or {remedy}"
        ) from error


def check_fits(
    model: Callable[[Tensor], Any],
    examples: Tensor,
    data: Dataset,
    *,
    call: str,
    name: str,
    remedy: str,
) -> None:
    """Check that a model can be run on data and has an output for each of its classes.

    Args:
        model: as for `check_runs`.
        examples: likewise.
        data: likewise.
        call: likewise.
        name: likewise.
        remedy: likewise.

    Raises:
        OneBasinError: when it cannot, or has not.
    """
    outputs = check_runs(
        lambda inputs: output_of(model(inputs)),
        examples,
        data,
        call=call,
        name=name,
        remedy=remedy,
    )
    if outputs.ndim != 2 or outputs.shape[1] < data.num_classes:
        raise OneBasinError(
            f"{call}: {name} returns {tuple(outputs.shape)} for two examples but {data.name} has "
            f"{data.num_classes} classes; choose other data or {remedy}"
        )


def check_trainable(call: str, model: nn.Module) -> None:
    """Check that a model has parameters that can learn.

    Args:
        call: who asks, for messages.
        model: the module.

    Raises:
        OneBasinError: when it has none, or all are frozen.
    """
    params = list(model.parameters())
    if not params:
        raise OneBasinError(f"{call}: the network has no parameters; there is nothing to train")
    if not any(param.requires_grad for param in params):
        raise OneBasinError(
            f"{call}: all parameters of the network are frozen; there is nothing to train, so set "
            "requires_grad of some"
        )


def needs_two(call: str, batch_size: int, data: Dataset) -> OneBasinError:
    """Return what is told where a step would have one example; see `takes_single`."""
    return OneBasinError(
        f"{call}: normalisation over a batch needs two examples, but batch_size is {batch_size} "
        f"and {data.name} has {len(data.train_labels)}; make both at least 2"
    )


def takes_single(model: nn.Module, example: Tensor) -> bool:
    """Tell whether a model in training mode can be run on one example.

    Normalisation over a batch may know nothing about a single one.

    Args:
        model: the module; it stays as it is, and so do torch's generators.
        example: one input of its data, where the model is, `(1, ...)`.
    """
    try:
        with torch.no_grad(), forked():
            copy.deepcopy(model).train()(example)
    except ValueError as error:
        if "more than 1 value per channel" in str(error):
            return False
        raise
    return True
