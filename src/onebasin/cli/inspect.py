"""`onebasin inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.matching import Classes, SymmetryFile
from onebasin.cli.options.networks import Arch, ArchArgs, Inputs
from onebasin.cli.options.run import RunOptions


@with_option_groups
def inspect(
    *,
    arch: Arch,
    arch_arg: ArchArgs = None,
    input_: Inputs = None,
    symmetry: SymmetryFile = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also verify the symmetry on the model in float64.")
    ] = False,
    meta: Annotated[
        bool,
        typer.Option("--meta", help="Build the model on the meta device, without memory."),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write the symmetry to a JSON file."),
    ] = None,
    shows_all: Annotated[
        bool,
        typer.Option(
            "--all", help="Print every group, what limits its class, and every fixed dimension."
        ),
    ] = False,
    classes: Classes = "all",
    options: RunOptions,
) -> None:
    """Show the symmetry of an architecture.

    Prints the groups of units, the class of each group, the fixed dimensions, and their reasons.

    \b
    Examples:
      onebasin inspect torchvision:resnet18
      onebasin inspect timm:vit_tiny_patch16_224 --all
      onebasin inspect model-folder/
      onebasin inspect mypackage.models:build --input 2x3x32x32 --save symmetry.json
    """
    with options.open_console() as console:
        from onebasin import api

        result = api.inspect(
            arch,
            example_inputs=input_,
            arch_args=arch_arg,
            symmetry=symmetry,
            verify=verify,
            meta=meta,
            save=save,
            shows_all=shows_all,
            classes=classes,
            **options.keywords,
        )
        console.result("inspect", result, None, [save])
