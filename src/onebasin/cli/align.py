"""`onebasin align`: B moved to A, written tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onebasin.cli.console import open_console
from onebasin.cli.measuring import DataRoot
from onebasin.cli.options import (
    Arch,
    ArchArgs,
    CheckpointA,
    CheckpointB,
    Inputs,
    Json,
    MethodArgs,
    MethodData,
    MethodName,
    Output,
    PermutationFile,
    Prove,
    Quiet,
    Restarts,
    Seed,
    SymmetryFile,
)

if TYPE_CHECKING:
    from onebasin.cli.console import Console
    from onebasin.cli.methods import MethodChoice
    from onebasin.cli.pairs import ArchitectureChoice
    from onebasin.cli.symmetries import SymmetryChoice


def align(
    arch: Arch,
    a: CheckpointA,
    b: CheckpointB,
    out: Output,
    arch_arg: ArchArgs = None,
    input_: Inputs = None,
    symmetry: SymmetryFile = None,
    prove: Prove = True,
    method: MethodName = None,
    method_arg: MethodArgs = None,
    restarts: Restarts = None,
    data: MethodData = None,
    data_root: DataRoot = None,
    save_permutation: PermutationFile = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Move checkpoint B to checkpoint A.

    The units of B are put into the order in which its weights are closest to A's, or, with
    another --method, its activations; what it computes stays the same. Proving the symmetry
    first takes memory for the model in float64; --no-prove does without, and then checkpoints
    larger than memory can be aligned.

    \b
    Examples:
      onebasin align mlp a.safetensors b.safetensors -o aligned.safetensors
      onebasin align hf:my-model/ a/ b/ -o aligned/ --no-prove
      onebasin align mlp a.pt b.pt -o aligned.pt --method activations --data digits
      onebasin align my.models:build a.pt b.pt -o aligned.pt --input 2x3x32x32
    """
    from onebasin.cli.methods import MethodChoice
    from onebasin.cli.pairs import ArchitectureChoice
    from onebasin.cli.symmetries import SymmetryChoice

    with open_console(as_json, quiet) as console:
        run_align(
            ArchitectureChoice(arch, arch_arg, input_, seed),
            (a, b),
            out,
            symmetry=SymmetryChoice(symmetry, prove, seed),
            method=MethodChoice(method, method_arg, restarts, data, data_root, seed),
            permutation_file=save_permutation,
            console=console,
        )


def run_align(
    architecture: ArchitectureChoice,
    paths: tuple[Path, Path],
    output: Path,
    *,
    symmetry: SymmetryChoice,
    method: MethodChoice,
    permutation_file: Path | None,
    console: Console,
) -> None:
    """Align B to A and write it.

    Args:
        architecture: of both.
        paths: A and B.
        output: where B goes.
        symmetry: where the symmetry comes from.
        method: how to match.
        permutation_file: where the permutation goes, or None.
        console: where the result is printed.
    """
    from onebasin.checkpoints import write_checkpoint
    from onebasin.cli.alignment import align_networks
    from onebasin.cli.outputs import check_outputs, save_permutation
    from onebasin.cli.pairs import open_networks, refuse_same
    from onebasin.merging.moved import Moved

    check_outputs(output, permutation_file, inputs=paths)
    matcher = method.prepare(call="align")
    is_run = symmetry.proves or matcher.runs_model
    with open_networks(
        architecture, paths, call="align", console=console, is_run=is_run
    ) as networks:
        refuse_same(networks, "align")
        matcher.check(networks.architecture, call="align")
        alignment = align_networks(networks, symmetry, matcher, console)
        a, b = networks.checkpoints
        with console.progress(f"writing {output}"):
            write_checkpoint(output, Moved(b, alignment.permutation), like=b, inputs=[a])
    save_permutation(alignment, permutation_file)
    data = {"command": "align", "output": str(output), **alignment.to_json()}
    console.result(data, f"{alignment.to_text()}\nwrote {output}")
