"""Declaration of options with a value and of positional arguments."""

from __future__ import annotations

from typing import Any

import typer


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
