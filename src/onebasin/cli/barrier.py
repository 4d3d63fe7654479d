"""`onebasin barrier`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.data import DataOptions
from onebasin.cli.options.evaluation import DataName, LineNormalizationName, TableFile
from onebasin.cli.options.matching import LineMatchingOptions
from onebasin.cli.options.networks import ArchAndSeveral
from onebasin.cli.options.run import RunOptions


@with_option_groups
def barrier(
    *,
    networks: ArchAndSeveral,
    data: DataName,
    reading: DataOptions,
    split: Annotated[
        Literal["both", "train", "test"], typer.Option(help="Split of the data.")
    ] = "both",
    align: Annotated[
        bool,
        typer.Option("--align/--no-align", help="Also measure the barrier after aligning B to A."),
    ] = True,
    num_points: Annotated[
        int,
        typer.Option(min=2, help="Points of each curve, including both checkpoints."),
    ] = 25,
    normalization: LineNormalizationName = "interpolated",
    baseline: Annotated[
        Literal["linear", "mean"],
        typer.Option(help="Baseline of the barrier: line between both losses, or their mean."),
    ] = "linear",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plot the curves or matrices (.png, .svg or .pdf)."),
    ] = None,
    save: TableFile = None,
    matching: LineMatchingOptions,
    options: RunOptions,
) -> None:
    """Measure the barrier between two checkpoints, or between all pairs of more.

    Measures loss and error before and after B is aligned to A, on training and test data. Also
    prints the loss and error of the checkpoints and of their averages. Use --normalization reset,
    repair or refit to align and correct every point as merge does with --data. Three or more
    checkpoints are aligned in pairs. The command then also prints the barriers of the best paths
    through a third checkpoint.

    \b
    Examples:
      onebasin barrier mlp a.safetensors b.safetensors --data digits --plot curve.png
      onebasin barrier mlp a.pt b.pt --data digits --split test --method activations
      onebasin barrier mlp runs/*.safetensors --data digits --num-points 3 --save barriers.csv
    """
    model, paths = matching.networks("barrier", networks)
    with options.open_console() as console:
        from onebasin import api

        keywords = {
            "data": reading.source(data, options.seed),
            "split": split,
            "align": align,
            "num_points": num_points,
            "normalization": normalization,
            "baseline": baseline,
            "plot": plot,
            "save": save,
            **matching.keywords,
            **options.keywords,
        }
        if len(paths) == 2:
            result = api.barrier(model, *paths, **keywords)
        else:
            result = api.barriers(model, paths, **keywords)
        console.result("barrier", result, paths, [plot, save])
