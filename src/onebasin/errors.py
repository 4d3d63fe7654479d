"""The exception for invalid user input, and checks of plain values that raise it.

Checks of modules and tensors are in `_checks`: this module does not import torch.
"""

import operator
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from math import inf
from numbers import Real
from typing import Any, ParamSpec, TypeVar, get_args

__all__ = ["OneBasinError", "OneBasinWarning"]

P = ParamSpec("P")
R = TypeVar("R")

_IS_RUNNING: ContextVar[bool] = ContextVar("_IS_RUNNING", default=False)
"""Whether a public function runs in this thread."""


class OneBasinError(ValueError):
    """Invalid user input: wrong arguments, mismatched checkpoints, an unreadable file.

    The message is one line with the call or file, the problem, the given value and the
    remedy. The command line prints it and exits with 2.
    """


class ArgumentError(OneBasinError):
    """An invalid argument; `public` adds the name of the function that the user called."""


class OneBasinWarning(UserWarning):
    """A fact about a result that the user should know, such as a search that did not converge."""


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Add the name of a public function to errors about its arguments.

    If public functions call each other, the outermost one is named: the user called it.

    Args:
        function: any function; it may call functions that raise `ArgumentError`.

    Example:
        >>> @public
        ... def repeat(times):
        ...     check_whole("times", times, least=1)
        >>> repeat(0)
        Traceback (most recent call last):
        onebasin.errors.OneBasinError: repeat: times is 0; it must be a whole number of at least 1
    """
    owner, _, name = function.__qualname__.rpartition(".")
    name = owner if name.startswith("__") else name

    @wraps(function)
    def named(*args: P.args, **kwargs: P.kwargs) -> R:
        if _IS_RUNNING.get():
            return function(*args, **kwargs)
        token = _IS_RUNNING.set(True)
        try:
            return function(*args, **kwargs)
        except ArgumentError as error:
            message = OneBasinError(f"{name}: {error}")
            raise message.with_traceback(error.__traceback__) from error.__cause__
        finally:
            _IS_RUNNING.reset(token)

    return named


def check_choice(name: str, value: str, choices: Any) -> None:
    """Check that an argument is one of the values of a `Literal`.

    Raises:
        OneBasinError: the value is invalid; the message lists the valid ones.
    """
    known = get_args(choices)
    if value not in known:
        choice = " or ".join(map(repr, known))
        raise ArgumentError(f"{name} is {value!r}; it must be {choice}")


def check_whole(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """Return an integer argument as a Python integer.

    Args:
        name: name of the argument.
        value: the argument; integers of NumPy and PyTorch are accepted.
        least: smallest valid value.
        most: largest valid value, or None.

    Raises:
        OneBasinError: the argument is invalid.

    Example:
        >>> check_whole("num_points", 25, least=2)
        25
    """
    number = operator.index(value) if is_whole(value) else None
    if number is None or number < least or (most is not None and number > most):
        expected = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ArgumentError(f"{name} is {value!r}; it must be a whole number {expected}")
    return number


def check_amount(name: str, value: Any) -> None:
    """Check that an argument is a finite number of at least 0.

    Args:
        name: name of the argument.
        value: the argument.

    Raises:
        OneBasinError: the argument is invalid.
    """
    if not (is_number(value) and 0 <= value < inf):
        raise ArgumentError(f"{name} is {value!r}; it must be at least 0 and finite")


def listed(name: str, values: Any) -> list[Any]:
    """Return a list argument as a list, without checking its values.

    Args:
        name: name of the argument.
        values: the argument.

    Raises:
        OneBasinError: the argument is a single value.
    """
    try:
        return list(values)
    except TypeError as error:
        raise ArgumentError(
            f"{name} is {values!r}; give a list of whole numbers, such as [0, 1]"
        ) from error


def is_number(value: Any) -> bool:
    """Return whether an argument is a real number of Python or NumPy, except True and False."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_fraction(value: Any) -> bool:
    """Return whether an argument is a number from 0 to 1 of any library."""
    if isinstance(value, bool | str):
        return False
    try:
        return 0 <= float(value) <= 1
    except (TypeError, ValueError):
        return False


def is_whole(value: Any) -> bool:
    """Return whether an argument is an integer of any library, except True and False."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)
