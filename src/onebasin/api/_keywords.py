"""Misspelled arguments of functions whose other keywords are options of the method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, signature
from typing import ParamSpec, TypeVar

from onebasin.errors import ArgumentError
from onebasin.matching.registry import MATCHERS

P = ParamSpec("P")
R = TypeVar("R")


def takes_method_options(function: Callable[P, R]) -> Callable[P, R]:
    """Report misspelled arguments of a public function whose other keywords are method options.

    Keywords that resemble no argument are left to `check_options`.

    Args:
        function: a public function with `**options`.

    Example:
        >>> @takes_method_options
        ... def match(*, data=None, **options):
        ...     return options
        >>> match(restarts=2)
        {'restarts': 2}
        >>> match(dta=[])
        Traceback (most recent call last):
        onebasin.errors.ArgumentError: unknown argument 'dta'; did you mean data=?
    """
    parameters = signature(function).parameters.values()
    known = [each.name for each in parameters if each.kind is not Parameter.VAR_KEYWORD]

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                _check_keyword(name, known)
        return function(*args, **kwargs)

    return call


def _check_keyword(name: str, known: Sequence[str]) -> None:
    """Check that a keyword does not resemble an argument more than an option of any method."""
    options = {option for method in MATCHERS.values() for option in method.options}
    close = get_close_matches(name, [*options, *known], n=1)
    if close and close[0] not in options:
        raise ArgumentError(f"unknown argument {name!r}; did you mean {close[0]}=?")
