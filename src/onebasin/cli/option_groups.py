"""Option groups: dataclasses whose fields are options of a command.

Nothing here imports torch before a command runs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from inspect import Parameter
from typing import Any, get_type_hints

import typer

from onebasin.errors import public


def option(
    *names: str, metavar: str, help: str, default: str | bool = False, least: int | None = None
) -> Any:
    """Declare an option with a value.

    Args:
        *names: the long name, and perhaps a short one.
        metavar: the value in the help text.
        help: the description.
        default: text of the default in the help text; True shows the value, False nothing.
        least: the smallest number, or None.
    """
    return typer.Option(*names, metavar=metavar, help=help, show_default=default, min=least)


def count(name: str, help: str, default: str | bool = False) -> Any:
    """Declare an option whose value is a number of at least 1."""
    return option(name, metavar="N", help=help, default=default, least=1)


def argument(metavar: str, help: str) -> Any:
    """Declare a positional argument."""
    return typer.Argument(metavar=metavar, help=help, show_default=False)


def with_option_groups(command: Callable[..., Any]) -> Callable[..., Any]:
    """Replace each parameter of a command that is an option group by the fields of the group.

    Typer, and so `--help`, shows the options at the position of the group. Errors about
    arguments name the command.

    Args:
        command: a function with parameters that typer understands, and option groups.
    """
    parameters: list[Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind = parameter.annotation
        if isinstance(kind, type) and is_dataclass(kind):
            groups[parameter.name] = kind
            parameters += _options(kind)
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    named = public(command)

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        return named(**given)

    # Typer reads both.
    run.__annotations__ = {field.name: field.annotation for field in parameters}
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    return run


def _options(group: type[Any]) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]
