"""Options of every command: the seed and the form of the output."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onebasin.cli.console import open_console
from onebasin.cli.option_groups import option

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from onebasin.cli.console import Console

Seed = Annotated[
    int,
    option(
        "--seed",
        metavar="N",
        help="Random seed. Equal seeds give equal results.",
        default=True,
        least=0,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print only the result, as JSON, to stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only errors (and JSON with --json).")
]


@dataclass(frozen=True)
class RunOptions:
    """Options of every command."""

    seed: Seed = 0
    as_json: Json = False
    quiet: Quiet = False

    def open_console(self) -> AbstractContextManager[Console]:
        """Open the console of the command."""
        return open_console(self.as_json, self.quiet)

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments of the library function."""
        return {"seed": self.seed, "progress": not self.quiet and sys.stderr.isatty()}
