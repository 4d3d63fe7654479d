"""The commands of `onebasin`.

Each command imports torch inside its function, so that `--help` is fast.
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from typing import Annotated

import typer

from onebasin import __version__
from onebasin.cli.align import align
from onebasin.cli.barrier import barrier
from onebasin.cli.compare_features import compare_features
from onebasin.cli.evaluate import evaluate
from onebasin.cli.inspect import inspect
from onebasin.cli.merge import merge
from onebasin.cli.plane import plane


def _show_version(is_asked: bool | None) -> None:
    if is_asked:
        print(f"onebasin {__version__}")
        raise typer.Exit


def _onebasin(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = None,
) -> None:
    """Merge independently trained neural networks into one.

    Infer the permutation symmetries of any PyTorch model, align one network to another, average
    them into one network, and measure the loss barrier between them.

    \b
    Examples:
      onebasin demo --out demo-out
      onebasin inspect torchvision:resnet50
      onebasin merge torchvision:resnet50 a.safetensors b.safetensors -o merged.safetensors
    """


@functools.cache
def create_app() -> typer.Typer:
    """Return the command line: the commands of the library, and those of entry points.

    Other packages declare commands as entry points in the group `onebasin.commands`.
    """
    app = typer.Typer(
        name="onebasin",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_onebasin)
    for command in (inspect, align, merge, evaluate, barrier, plane, compare_features):
        app.command()(command)
    for entry in sorted(entry_points(group="onebasin.commands"), key=lambda entry: entry.name):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command)
        else:
            app.command(entry.name)(command)
    return app
