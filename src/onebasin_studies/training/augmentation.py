"""Validation, naming and application of the `augment` argument of `train`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from onebasin._checks import described
from onebasin.errors import ArgumentError

Augment = Callable[[Tensor, torch.Generator], Tensor]


def check_augment(augment: Any) -> None:
    """Check that an augmentation is callable.

    Args:
        augment: the value of the argument; None for no augmentation.

    Raises:
        OneBasinError: if the value is not callable.
    """
    if augment is not None and not callable(augment):
        raise ArgumentError(
            f"augment is {described(augment)}; pass a function of inputs and a generator, "
            "such as Augmentation()"
        )


def apply_augmentation(augment: Augment, inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return a randomly augmented batch.

    Args:
        augment: the augmentation.
        inputs: inputs of one network, `(b, ...)`.
        generator: random generator on the CPU.

    Raises:
        OneBasinError: if the result is not a tensor of the same shape. PyTorch would broadcast it
            without an error.
    """
    outputs: Any = augment(inputs, generator)
    if not isinstance(outputs, Tensor) or outputs.shape != inputs.shape:
        kind = f"{tuple(outputs.shape)}" if isinstance(outputs, Tensor) else described(outputs)
        raise ArgumentError(
            f"augment returned {kind} for inputs {tuple(inputs.shape)}; return a tensor of "
            "the same shape"
        )
    return outputs


def augment_name(augment: Augment) -> str:
    """Return the name by which a training folder identifies an augmentation.

    Args:
        augment: a function or another callable object.

    Raises:
        OneBasinError: if the name is not unique, which applies to lambdas, nested functions and
            objects whose `repr` contains a memory address.
    """
    # The repr of a method names the object it is bound to.
    is_method = inspect.ismethod(augment)
    name = repr(augment) if is_method else getattr(augment, "__qualname__", None) or repr(augment)
    if "<lambda>" in name or "<locals>" in name or re.search(r" at 0x[0-9a-fA-F]+", name):
        raise ArgumentError(
            f"augment is {name}, which later runs cannot identify; define it with def at "
            "the top level of a module, or as a frozen dataclass with __call__"
        )
    return name
