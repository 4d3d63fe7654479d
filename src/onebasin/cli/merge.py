"""`onebasin merge`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.data import DataOptions
from onebasin.cli.options.evaluation import EvaluationOptions
from onebasin.cli.options.matching import MergingData, MergingMatchingOptions, PermutationFile
from onebasin.cli.options.networks import ArchAndSeveral, Output
from onebasin.cli.options.run import RunOptions
from onebasin.errors import OneBasinError


@with_option_groups
def merge(
    *,
    networks: ArchAndSeveral,
    out: Output,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W_A,W_B,...",
            help="Weights of the average, such as 0.7,0.3. They are divided by their sum and may "
            "be negative.",
            show_default="equal weights",
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align/--no-align", help="Align the checkpoints before averaging.")
    ] = True,
    matching: MergingMatchingOptions,
    data: MergingData = None,
    reading: DataOptions,
    repair: Annotated[
        Literal["auto", "none", "reset", "repair", "rescale", "refit"],
        typer.Option(
            help="Correct the average with --data: recompute BatchNorm statistics (reset), match "
            "mean and standard deviation of all units (repair), match only their standard "
            "deviation (rescale), or recompute all weights (refit). auto tries reset, repair and "
            "refit, and uses the one whose outputs are closest to the mean output of the "
            "checkpoints on held-out data. Without --data, auto is none.",
        ),
    ] = "auto",
    tune_norms: Annotated[
        bool,
        typer.Option(
            "--tune-norms",
            help="Train the gains and biases of the repaired network on --data, without labels, to "
            "reproduce the mean output of the checkpoints.",
        ),
    ] = False,
    size: Annotated[
        float,
        typer.Option(
            help="Size of the result as a multiple of that of one checkpoint, from 1 to the number "
            "of checkpoints. Above 1, units that match badly are kept from every checkpoint, and "
            "all weights are refit on --data. Load the result with onebasin.resize.",
        ),
    ] = 1.0,
    heads: Annotated[
        Literal["shared", "own"],
        typer.Option(
            help="Merge the last layers (shared), or keep one for each checkpoint (own), for "
            "checkpoints with different tasks. The body is then merged and refit on --data. "
            "The output has the last layer of A, and OUT-head-2 that of B.",
        ),
    ] = "shared",
    save_permutation: PermutationFile = None,
    evaluation: EvaluationOptions,
    options: RunOptions,
) -> None:
    """Align checkpoints and average them.

    With --data, matching uses weights and features, and the average is repaired or refit. The
    command then prints the loss and error of all checkpoints, of the unaligned average, of the
    result and of the ensemble. The output has the tensor names and dtypes of A. Use --no-align
    for checkpoints that are already aligned.

    \b
    Examples:
      onebasin merge mlp a.safetensors b.safetensors -o merged.safetensors
      onebasin merge timm:resnet18 a.pt b.pt -o merged.safetensors --weights 0.7,0.3
      onebasin merge a/ b/ -o merged/ --no-verify
      onebasin merge mlp a.pt b.pt -o merged.pt --data digits
      onebasin merge mlp a.pt b.pt c.pt -o mean.pt --no-align
    """
    model, paths = matching.networks("merge", networks)
    source = reading.optional_source(data, options.seed)
    shares = None if weights is None else parse_weights(weights)
    with options.open_console() as console:
        from onebasin import api

        merged = api.merge(
            model,
            paths,
            weights=shares,
            data=source,
            align=align,
            repair=repair,
            tune_norms=tune_norms,
            size=size,
            heads=heads,
            output=out,
            save_permutation=save_permutation,
            **matching.keywords,
            **evaluation.keywords,
            **options.keywords,
        )
        console.result("merge", merged, paths, [out, *merged.head_files, *merged.permutation_files])


def parse_weights(text: str) -> list[float]:
    """Return the numbers of `--weights`.

    Raises:
        OneBasinError: the text is not numbers separated by commas.

    Example:
        >>> parse_weights("0.7, 0.3")
        [0.7, 0.3]
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise OneBasinError(
            f"merge: --weights {text!r} is not numbers separated by commas, such as 0.7,0.3"
        ) from error
