"""The commands of `onebasin`, put together.

A command is one file: its declaration and its run. What is slow to import, torch above all,
it imports inside its functions, so that `--help` need not wait.
"""

from __future__ import annotations

from typing import Annotated

import typer

from onebasin import __version__
from onebasin.cli.align import align
from onebasin.cli.barrier import barrier
from onebasin.cli.demo import demo
from onebasin.cli.evaluate import evaluate
from onebasin.cli.features import features
from onebasin.cli.inspect import inspect
from onebasin.cli.merge import merge
from onebasin.cli.plane import plane
from onebasin.cli.study import study
from onebasin.cli.train import train

app = typer.Typer(
    name="onebasin",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(is_asked: bool | None) -> None:
    if is_asked:
        print(f"onebasin {__version__}")
        raise typer.Exit


@app.callback()
def onebasin(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = None,
) -> None:
    """Put independently trained neural networks into one basin.

    Find the permutation symmetries of any PyTorch model, align one network's hidden units to
    another's, merge the two in weight space and measure the barrier between them.

    \b
    Examples:
      onebasin demo --out demo-out
      onebasin inspect torchvision:resnet50
      onebasin merge torchvision:resnet50 a.safetensors b.safetensors -o merged.safetensors
    """


for command in (
    demo,
    inspect,
    align,
    merge,
    evaluate,
    barrier,
    plane,
    features,
    train,
):
    app.command()(command)

app.add_typer(study)
