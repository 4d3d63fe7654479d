"""Augmenting: what `augment=` of a training may be, and how it is called."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from onebasin._checks import described
from onebasin.errors import OneBasinError

Augment = Callable[[Tensor, torch.Generator], Tensor]


def check_augment(augment: Any) -> None:
    """Check that an augmentation can be called.

    Args:
        augment: what was given; None for none.

    Raises:
        OneBasinError: when it cannot.
    """
    if augment is not None and not callable(augment):
        raise OneBasinError(
            f"train: augment is {described(augment)}; pass a function of inputs and a generator, "
            "such as Augmentation()"
        )


def augmented(augment: Augment, inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return a batch of inputs, changed at random.

    Args:
        augment: changes it.
        inputs: of one network, `(b, ...)`.
        generator: what is drawn from, on the CPU.

    Raises:
        OneBasinError: when what comes back is no tensor of the same shape, which another one
            would be stretched to without a word.
    """
    found: Any = augment(inputs, generator)
    if not isinstance(found, Tensor) or found.shape != inputs.shape:
        kind = f"{tuple(found.shape)}" if isinstance(found, Tensor) else described(found)
        raise OneBasinError(
            f"train: augment was given inputs {tuple(inputs.shape)} and what it returned is "
            f"{kind}; it must return a tensor of the same shape"
        )
    return found


def augment_name(augment: Augment) -> str:
    """Return what an augmentation is called, by which a folder knows it again.

    Args:
        augment: a function or another object that can be called.

    Raises:
        OneBasinError: when that would not tell it from another one: of a lambda, a function
            inside of another, or an object that prints as its address in memory.
    """
    # A method is told by what it is bound to.
    is_method = inspect.ismethod(augment)
    name = repr(augment) if is_method else getattr(augment, "__qualname__", None) or repr(augment)
    if "<lambda>" in name or "<locals>" in name or re.search(r" at 0x[0-9a-fA-F]+", name):
        raise OneBasinError(
            f"train: augment is {name}, which a folder cannot tell from another one; define it "
            "with def at the top of a module, or as a frozen dataclass with __call__"
        )
    return name
