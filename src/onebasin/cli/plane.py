"""`onebasin plane`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.data import DataOptions
from onebasin.cli.options.evaluation import DataName, NormalizationName, TableFile
from onebasin.cli.options.matching import PlaneMatchingOptions
from onebasin.cli.options.networks import ArchAndTwoOrThree
from onebasin.cli.options.run import RunOptions


@with_option_groups
def plane(
    *,
    networks: ArchAndTwoOrThree,
    data: DataName,
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Output picture (.png, .svg or .pdf).",
            show_default=False,
        ),
    ],
    reading: DataOptions,
    split: Annotated[Literal["test", "train"], typer.Option(help="Split of the data.")] = "test",
    quantity: Annotated[Literal["loss", "error"], typer.Option(help="Quantity to draw.")] = "loss",
    num_points: Annotated[int, typer.Option(min=2, help="Grid points along each side.")] = 25,
    margin: Annotated[
        float,
        typer.Option(min=0, help="Margin around the checkpoints, relative to their distance."),
    ] = 0.25,
    normalization: NormalizationName = "interpolated",
    save: TableFile = None,
    matching: PlaneMatchingOptions,
    options: RunOptions,
) -> None:
    """Draw the loss on the plane through three checkpoints.

    Without a third checkpoint, B aligned to A is the third one. The picture then shows whether
    alignment moves B into the basin of A.

    \b
    Examples:
      onebasin plane mlp a.safetensors b.safetensors --data digits -o plane.png
      onebasin plane mlp a.pt b.pt c.pt --data digits -o plane.svg --split train --save plane.csv
    """
    model, paths = matching.networks("plane", networks, maximum=3)
    with options.open_console() as console:
        from onebasin import api

        result = api.plane(
            model,
            paths,
            data=reading.source(data, options.seed),
            split=split,
            quantity=quantity,
            num_points=num_points,
            margin=margin,
            normalization=normalization,
            plot=out,
            save=save,
            **matching.keywords,
            **options.keywords,
        )
        console.result("plane", result, paths, [out, save])
