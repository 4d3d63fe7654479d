"""`onebasin compare-features`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.data import DataOptions
from onebasin.cli.options.evaluation import DataName, LineNormalizationName
from onebasin.cli.options.matching import LineMatchingOptions
from onebasin.cli.options.networks import ArchAndTwo
from onebasin.cli.options.run import RunOptions


@with_option_groups
def compare_features(
    *,
    networks: ArchAndTwo,
    data: DataName,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Output folder for tables (.csv, .json) and plots (.png).",
            show_default=False,
        ),
    ],
    reading: DataOptions,
    measure: Annotated[
        Literal[
            "llfc",
            "additivity",
            "commutativity",
            "similarity",
            "error-bound",
            "interpolation",
            "all",
        ],
        typer.Option(help="Measurement to run."),
    ] = "llfc",
    split: Annotated[Literal["train", "test"], typer.Option(help="Split of the data.")] = "test",
    permutation: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Apply a permutation of align --save-permutation to B instead of aligning it.",
            show_default=False,
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align/--no-align", help="Align B to A first, as in barrier.")
    ] = True,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Layers to measure, such as 'layers.*' or '*relu*'; may be repeated.",
            show_default=False,
        ),
    ] = None,
    normalization: LineNormalizationName = "interpolated",
    batch_size: Annotated[int, typer.Option(min=1, help="Examples per batch.")] = 500,
    matching: LineMatchingOptions,
    options: RunOptions,
) -> None:
    """Compare the features of two checkpoints layer by layer.

    B is aligned to A first, as in barrier; use --no-align to compare unaligned networks. The
    measurements are layerwise linear feature connectivity of the midpoint (llfc), additivity of
    nonlinear functions (additivity), commutativity of weights (commutativity), similarity of
    features (similarity), the 2ε bound of the error (error-bound), and the loss of networks with
    interpolated features (interpolation).

    \b
    Examples:
      onebasin compare-features mlp a.safetensors b.safetensors --data digits -o features
      onebasin compare-features mlp a.pt b.pt --data digits --layer 'layers.*' -o features
      onebasin compare-features mlp a.pt b.pt --data digits --permutation p.safetensors -o features
    """
    model, paths = matching.networks("compare-features", networks, maximum=2)
    with options.open_console() as console:
        from onebasin import api

        result = api.compare_features(
            model,
            *paths,
            data=reading.source(data, options.seed),
            output=output,
            measure=measure,
            split=split,
            permutation=permutation,
            align=align,
            layer=layer,
            normalization=normalization,
            batch_size=batch_size,
            **matching.keywords,
            **options.keywords,
        )
        console.result(
            "compare-features", result, paths, [f"{len(result.files)} files to {output}"]
        )
