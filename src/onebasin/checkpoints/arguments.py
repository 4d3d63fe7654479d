"""Reads `KEY=VALUE` arguments of architectures and methods."""

import ast
import json
from collections.abc import Iterable, Mapping
from typing import Any

from onebasin.errors import OneBasinError

_WORDS = {"true": True, "false": False, "none": None, "null": None}


def parse_arguments(
    arguments: Mapping[str, Any] | Iterable[str] | None,
    *,
    option: str = "--arch-arg",
    example: str = "width=512",
) -> dict[str, Any]:
    """Turn `KEY=VALUE` texts into keyword arguments.

    A value is read as a Python literal, then as JSON; `true`, `false` and `none` may be
    written in any case; anything else is text.

    Args:
        arguments: Such texts; a mapping is taken as it is.
        option: Where they were given, for messages.
        example: A right one, for messages.

    Returns:
        The keyword arguments.

    Raises:
        OneBasinError: A text has no `=`, its key is no identifier, or a key comes twice.

    Examples:
        >>> parse_arguments(["depth=3", "norm=batch", "sizes=(8, 16)", "bias=false"])
        {'depth': 3, 'norm': 'batch', 'sizes': (8, 16), 'bias': False}
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    parsed: dict[str, Any] = {}
    for argument in arguments or ():
        key, equals, value = argument.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise OneBasinError(
                f"{option} {argument!r}: expected KEY=VALUE with a name before the '=', "
                f"such as {example}"
            )
        if key in parsed:
            raise OneBasinError(f"{option} {argument!r}: {key!r} is given twice; give it once")
        parsed[key] = _parse_value(value.strip())
    return parsed


def _parse_value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for parse in (ast.literal_eval, json.loads):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return text
