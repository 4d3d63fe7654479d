"""The commands of `onebasin`: what they are called and what they take.

A command's module is imported when it runs, so that `--help` need not wait for torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from onebasin import __version__
from onebasin.cli.console import open_console
from onebasin.cli.options import (
    Arch,
    ArchArgs,
    CheckpointA,
    CheckpointB,
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


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for everything that is made.")
    ] = Path("demo-out"),
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train two networks, align, merge, and write a report.

    Takes about half a minute. DIR gets report.html, curve.png, result.json and the networks:
    a, b, aligned and merged.safetensors.

    \b
    Example:
      onebasin demo --out demo-out
    """
    from onebasin.cli.demo import run_demo

    with open_console(as_json, quiet) as console:
        run_demo(out, seed=seed, console=console)


@app.command()
def inspect(
    arch: Arch,
    arch_arg: ArchArgs = None,
    input_: Inputs = None,
    symmetry: SymmetryFile = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Also test the symmetry on the model in float64.")
    ] = False,
    meta: Annotated[
        bool,
        typer.Option("--meta", help="Build the model without memory, for models too large for it."),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write the symmetry to a JSON file."),
    ] = None,
    shows_all: Annotated[
        bool, typer.Option("--all", help="Print every group and every fixed dimension.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the symmetry of an architecture.

    What may move, what may not, and why.

    \b
    Examples:
      onebasin inspect torchvision:resnet18
      onebasin inspect timm:vit_tiny_patch16_224 --all
      onebasin inspect mypackage.models:build --input 2x3x32x32 --save symmetry.json
    """
    from onebasin.cli.inspect import run_inspect
    from onebasin.cli.pairs import ArchitectureChoice
    from onebasin.cli.symmetries import SymmetryChoice

    with open_console(as_json, quiet) as console:
        run_inspect(
            ArchitectureChoice(arch, arch_arg, input_, seed),
            symmetry=SymmetryChoice(symmetry, prove, seed),
            shows_all=shows_all,
            is_meta=meta,
            save=save,
            console=console,
        )


@app.command()
def align(
    arch: Arch,
    a: CheckpointA,
    b: CheckpointB,
    out: Output,
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
    """Move checkpoint B to checkpoint A.

    The units of B are put into the order in which its weights are closest to A's; what it
    computes stays the same. Proving the
    symmetry first takes memory for the model in float64; --no-prove does without, and then
    checkpoints larger than memory can be aligned.

    \b
    Examples:
      onebasin align mlp a.safetensors b.safetensors -o aligned.safetensors
      onebasin align hf:my-model/ a/ b/ -o aligned/ --no-prove
      onebasin align my.models:build a.pt b.pt -o aligned.pt --input 2x3x32x32
    """
    from onebasin.cli.align import run_align
    from onebasin.cli.pairs import ArchitectureChoice
    from onebasin.cli.symmetries import SymmetryChoice

    with open_console(as_json, quiet) as console:
        run_align(
            ArchitectureChoice(arch, arch_arg, input_, seed),
            (a, b),
            out,
            symmetry=SymmetryChoice(symmetry, prove, seed),
            permutation_file=save_permutation,
            restarts=restarts,
            console=console,
        )


@app.command()
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
    from onebasin.cli.merge import run_merge
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


@app.command()
def barrier(
    arch: Arch,
    a: CheckpointA,
    b: CheckpointB,
    data: Annotated[
        str,
        typer.Option(metavar="NAME", help="Data to measure on: digits.", show_default=False),
    ],
    align: Annotated[
        bool, typer.Option("--align/--no-align", help="Also measure after aligning B to A.")
    ] = True,
    num_points: Annotated[
        int, typer.Option(min=2, help="Points of each curve, both ends included.")
    ] = 25,
    normalization: Annotated[
        Literal["interpolated", "reset"],
        typer.Option(help="Running statistics between the ends: as they come, or from the data."),
    ] = "interpolated",
    chord: Annotated[
        Literal["ends", "mean"],
        typer.Option(help="Measure from the line between the ends, or from their mean."),
    ] = "ends",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the curves (.png, .svg or .pdf)."),
    ] = None,
    arch_arg: ArchArgs = None,
    input_: Inputs = None,
    symmetry: SymmetryFile = None,
    prove: Prove = True,
    restarts: Restarts = 1,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the barrier between two checkpoints.

    Before and after alignment, on training and test data, for loss and error.

    \b
    Example:
      onebasin barrier mlp a.safetensors b.safetensors --data digits --plot curve.png
    """
    from onebasin.cli.barrier import MeasuringChoice, run_barrier
    from onebasin.cli.pairs import ArchitectureChoice
    from onebasin.cli.symmetries import SymmetryChoice

    with open_console(as_json, quiet) as console:
        run_barrier(
            ArchitectureChoice(arch, arch_arg, input_, seed),
            (a, b),
            data,
            symmetry=SymmetryChoice(symmetry, prove, seed) if align else None,
            measuring=MeasuringChoice(num_points, normalization, chord, plot),
            restarts=restarts,
            console=console,
        )
