"""`onebasin merge`: A and the moved B averaged, written tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onebasin.cli.console import open_console
from onebasin.cli.options import (
    Arch,
    ArchArgs,
    Inputs,
    Json,
    Output,
    PermutationFile,
    Prove,
    Quiet,
    Restarts,
    Seed,
    SymmetryFile,
)
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console
    from onebasin.cli.pairs import ArchitectureChoice, Pair
    from onebasin.cli.symmetries import SymmetryChoice


def merge(
    arch: Arch,
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B", help="The reference and the checkpoint to merge.", show_default=False
        ),
    ],
    out: Output,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W_A,W_B",
            help="Weights of the average, such as 0.7,0.3; equal ones without it.",
            show_default=False,
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align/--no-align", help="Align B to A before averaging.")
    ] = True,
    arch_arg: ArchArgs = None,
    input_: Inputs = None,
    symmetry: SymmetryFile = None,
    prove: Prove = True,
    restarts: Restarts = 1,
    save_permutation: PermutationFile = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Align checkpoint B to A and average the two.

    \b
    Examples:
      onebasin merge mlp a.safetensors b.safetensors -o merged.safetensors
      onebasin merge timm:resnet18 a.pt b.pt -o merged.safetensors --weights 0.7,0.3
    """
    from onebasin.cli.pairs import ArchitectureChoice
    from onebasin.cli.symmetries import SymmetryChoice

    with open_console(as_json, quiet) as console:
        run_merge(
            ArchitectureChoice(arch, arch_arg, input_, seed),
            checkpoints,
            out,
            symmetry=SymmetryChoice(symmetry, prove, seed) if align else None,
            weights=weights,
            permutation_file=save_permutation,
            restarts=restarts,
            console=console,
        )


def run_merge(
    architecture: ArchitectureChoice,
    paths: Sequence[Path],
    output: Path,
    *,
    symmetry: SymmetryChoice | None,
    weights: str | None,
    permutation_file: Path | None,
    restarts: int,
    console: Console,
) -> None:
    """Align B to A, average both and write the mean.

    Args:
        architecture: of both.
        paths: A and B.
        output: where the mean goes.
        symmetry: where the symmetry comes from; None averages without aligning.
        weights: numbers separated by commas, or None for equal ones.
        permutation_file: where the permutation goes, or None.
        restarts: number of starts of the matching.
        console: where the result is printed.
    """
    from onebasin.cli.alignment import align_pair
    from onebasin.cli.outputs import check_outputs, save_permutation
    from onebasin.cli.pairs import open_pair, refuse_same
    from onebasin.merging.averages import shares_of

    shares = shares_of(None if weights is None else parse_weights(weights), 2)
    pair_of_paths = _two(paths)
    if symmetry is None and permutation_file is not None:
        raise OneBasinError(
            "merge: --save-permutation has nothing to save with --no-align; leave one of them out"
        )
    check_outputs(output, permutation_file, inputs=pair_of_paths)
    is_run = symmetry is not None and symmetry.proves
    with open_pair(
        architecture, pair_of_paths, call="merge", console=console, is_run=is_run
    ) as pair:
        refuse_same(pair, "merge")
        alignment = None
        if symmetry is not None:
            alignment = align_pair(
                pair, symmetry, seed=architecture.seed, restarts=restarts, console=console
            )
        _write(pair, alignment, shares, output, console)
    if alignment is not None:
        save_permutation(alignment, permutation_file)
    data = {"command": "merge", "output": str(output), "weights": shares}
    data |= alignment.to_json() if alignment else {"symmetry": None, "matching": None}
    text = alignment.to_text() if alignment else "averaged without aligning"
    console.result(data, f"{text}\nwrote {output}")


def _two(paths: Sequence[Path]) -> tuple[Path, Path]:
    if len(paths) != 2:
        raise OneBasinError(f"merge: {len(paths)} checkpoints given; give two, the reference first")
    return paths[0], paths[1]


def _write(
    pair: Pair,
    alignment: Alignment | None,
    weights: Sequence[float],
    output: Path,
    console: Console,
) -> None:
    """Write the mean under the names and with the dtypes of A's file."""
    from onebasin.checkpoints import write_checkpoint
    from onebasin.merging.averages import Mean
    from onebasin.merging.moved import Moved

    b = Moved(pair.params_b, alignment.permutation) if alignment else pair.params_b
    mean = Mean([pair.params_a, b], weights)
    with console.progress(f"writing {output}"):
        write_checkpoint(output, mean, like=pair.checkpoint_a, inputs=[pair.checkpoint_b])


def parse_weights(text: str) -> list[float]:
    """Read `--weights`.

    Raises:
        OneBasinError: when it is not numbers separated by commas.

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
