"""`KEY=VALUE` arguments of architectures and methods."""

import ast
import json
from collections.abc import Iterable, Mapping
from typing import Any

from onebasin.errors import OneBasinError

_WORDS = {"true": True, "false": False, "none": None, "null": None}


def parse_arguments(
    arguments: Mapping[str, Any] | Iterable[str] | None,
    *,
    argument: str = "arch_args",
    example: str = "width=512",
) -> dict[str, Any]:
    """Return `KEY=VALUE` texts as keyword arguments.

    A value is parsed as a Python literal, then as JSON. The case of `true`, `false` and `none`
    does not matter. Any other value remains text.

    Args:
        arguments: the texts; a mapping is returned unchanged.
        argument: name of the argument of the public function, for messages.
        example: a valid text, for messages.

    Returns:
        The keyword arguments.

    Raises:
        OneBasinError: a text has no `=`, its key is not an identifier, or a key is repeated.

    Examples:
        >>> parse_arguments(["depth=3", "norm=batch", "sizes=(8, 16)", "bias=false"])
        {'depth': 3, 'norm': 'batch', 'sizes': (8, 16), 'bias': False}
    """
    if isinstance(arguments, Mapping):
        return dict(arguments)
    if arguments is not None and not isinstance(arguments, Iterable):
        raise OneBasinError(
            f"{argument}={arguments!r}: expected a mapping, or texts such as {example}"
        )
    parsed: dict[str, Any] = {}
    for text in arguments or ():
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            raise OneBasinError(
                f"{argument}={text!r}: expected KEY=VALUE with a name before the '=', "
                f"such as {example}"
            )
        if key in parsed:
            raise OneBasinError(f"{argument}={text!r}: {key!r} is given twice; give it once")
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
