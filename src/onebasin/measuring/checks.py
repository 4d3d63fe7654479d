"""Checks: what is asked of numbers before any work, each in one line."""

from __future__ import annotations

import operator
from typing import Any

from torch import nn

from onebasin.checkpoints.messages import described
from onebasin.errors import OneBasinError


def check_whole(call: str, name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """Return an argument that must be a whole number, as Python's own.

    Args:
        call: the public function that is running, for the message.
        name: of the argument.
        value: what was given; whole numbers of NumPy and PyTorch will do.
        least: the lowest that it may be.
        most: the highest, where there is one.

    Raises:
        OneBasinError: when it is something else.

    Example:
        >>> check_whole("interpolate", "num_points", 25, least=2)
        25
    """
    number = operator.index(value) if is_whole(value) else None
    if number is None or number < least or (most is not None and number > most):
        expected = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise OneBasinError(f"{call}: {name} is {value!r}; it must be a whole number {expected}")
    return number


def listed(call: str, name: str, values: Any) -> list[Any]:
    """Return an argument that must be several whole numbers as a list; they are not checked.

    Args:
        call: the public function that is running, for the message.
        name: of the argument.
        values: what was given.

    Raises:
        OneBasinError: when it is one value, not several.
    """
    try:
        return list(values)
    except TypeError as error:
        raise OneBasinError(
            f"{call}: {name} is {values!r}; give a list of whole numbers, such as [0, 1]"
        ) from error


def check_model(call: str, model: Any) -> None:
    """Check that an architecture is a module.

    Args:
        call: the public function that is running, for the message.
        model: what was given.

    Raises:
        OneBasinError: when it is something else, a name for example.
    """
    if not isinstance(model, nn.Module):
        raise OneBasinError(f"{call}: model is {described(model)}; pass a torch.nn.Module")


def is_share(value: Any) -> bool:
    """Tell whether an argument is a number from 0 to 1, of whatever library."""
    if isinstance(value, bool | str):
        return False
    try:
        return 0 <= float(value) <= 1
    except (TypeError, ValueError):
        return False


def is_whole(value: Any) -> bool:
    """Tell whether an argument is a whole number, of whatever library; True and False are not."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)
