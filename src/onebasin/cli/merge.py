"""`onebasin merge`: networks aligned and averaged, written tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from onebasin.cli.console import open_console
from onebasin.cli.measuring import DataRoot
from onebasin.cli.options import (
    Arch,
    ArchArgs,
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
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console
    from onebasin.cli.methods import MethodChoice
    from onebasin.cli.pairs import ArchitectureChoice, Networks
    from onebasin.cli.repairing import Repair, RepairName
    from onebasin.cli.symmetries import SymmetryChoice
    from onebasin.merging.repairing import Repaired

WITH_DATA = "combined"
"""The method where there is data: the best of benchmarks/matchers.py that needs no labels."""


def merge(
    arch: Arch,
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B",
            help="The reference and the checkpoints to merge with it.",
            show_default=False,
        ),
    ],
    out: Output,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W_A,W_B,...",
            help="Weights of the average, such as 0.7,0.3; equal ones without it.",
            show_default=False,
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align/--no-align", help="Align the checkpoints before averaging.")
    ] = True,
    arch_arg: ArchArgs = None,
    input_: Inputs = None,
    symmetry: SymmetryFile = None,
    prove: Prove = True,
    method: MethodName = None,
    method_arg: MethodArgs = None,
    restarts: Restarts = None,
    data: MethodData = None,
    data_root: DataRoot = None,
    repair: Annotated[
        Literal["none", "reset", "repair", "rescale"] | None,
        typer.Option(
            help="Set the statistics of the mean's units from data: BatchNorm's alone (reset), "
            "means and deviations of all units (repair), or their sizes (rescale).",
            show_default="repair with --data, else none",
        ),
    ] = None,
    save_permutation: PermutationFile = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Align checkpoints and average them.

    With --data, networks are matched by weights and features together, and the units of the
    mean get the statistics that they should have: narrow networks merge far better so. The
    mean has the names and dtypes of A's file. --no-align averages the checkpoints as they
    are: for networks that are aligned already.

    \b
    Examples:
      onebasin merge mlp a.safetensors b.safetensors -o merged.safetensors
      onebasin merge timm:resnet18 a.pt b.pt -o merged.safetensors --weights 0.7,0.3
      onebasin merge hf:a/ a/ b/ -o merged/ --no-prove
      onebasin merge mlp a.pt b.pt -o merged.pt --data digits
      onebasin merge mlp a.pt b.pt c.pt -o mean.pt --no-align
    """
    from onebasin.cli.methods import MethodChoice
    from onebasin.cli.pairs import ArchitectureChoice
    from onebasin.cli.symmetries import SymmetryChoice

    choice = MethodChoice(method, method_arg, restarts, data, data_root, seed)
    with open_console(as_json, quiet) as console:
        if not align:
            _refuse_useless(choice, save_permutation, symmetry, is_repaired=repair is not None)
        run_merge(
            ArchitectureChoice(arch, arch_arg, input_, seed),
            checkpoints,
            out,
            symmetry=SymmetryChoice(symmetry, prove, seed) if align else None,
            method=choice,
            weights=weights,
            repair=repair,
            permutation_file=save_permutation,
            console=console,
        )


def _refuse_useless(choice: MethodChoice, *files: Path | None, is_repaired: bool) -> None:
    """Refuse options that say how to align where nothing is aligned.

    Raises:
        OneBasinError: naming the first.
    """
    permutation, symmetry = files
    given = {
        "--save-permutation": permutation,
        "--symmetry": symmetry,
        "--method": choice.name,
        "--method-arg": choice.arguments,
        "--restarts": choice.restarts,
    }
    if not is_repaired:
        given |= {"--data": choice.data, "--data-root": choice.data_root}
    for option, value in given.items():
        if value:
            raise OneBasinError(
                f"merge: {option} has no use with --no-align; leave one of them out"
            )


def run_merge(
    architecture: ArchitectureChoice,
    paths: Sequence[Path],
    output: Path,
    *,
    symmetry: SymmetryChoice | None,
    method: MethodChoice,
    weights: str | None,
    repair: RepairName | None,
    permutation_file: Path | None,
    console: Console,
) -> None:
    """Align networks, average them and write the mean.

    Args:
        architecture: of all.
        paths: the reference and the others.
        output: where the mean goes.
        symmetry: where the symmetry comes from; None averages without aligning.
        method: how to match.
        weights: numbers separated by commas, or None for equal ones.
        repair: what is done to the mean; None for `repair` where there is data.
        permutation_file: where the permutation goes, or None.
        console: where the result is printed.
    """
    from onebasin.cli.alignment import align_networks
    from onebasin.cli.data import check_data
    from onebasin.cli.outputs import check_outputs, save_permutation
    from onebasin.cli.pairs import open_networks, refuse_same
    from onebasin.cli.repairing import Repair, repaired_json, repaired_text
    from onebasin.merging.averages import shares_of

    _check_number(paths, permutation_file)
    shares = shares_of(None if weights is None else parse_weights(weights), len(paths))
    check_outputs(output, permutation_file, inputs=paths)
    data = method.load()
    mending = Repair.of(repair, data)
    matcher = None
    if symmetry is not None:
        default = "weights" if data is None else WITH_DATA
        needed = data if mending is not None else None
        matcher = method.prepare(len(paths), call="merge", at_hand=needed, default=default)
    is_run = bool(symmetry and symmetry.proves) or bool(matcher and matcher.runs_model)
    is_run = is_run or mending is not None
    with open_networks(
        architecture, paths, call="merge", console=console, is_run=is_run
    ) as networks:
        refuse_same(networks, "merge")
        alignment = None
        if symmetry is not None and matcher is not None:
            matcher.check(networks.architecture, call="merge")
            alignment = align_networks(networks, symmetry, matcher, console)
        if mending is not None:
            check_data(networks.architecture, mending.data, call="merge")
        mended = _write(networks, alignment, shares, mending, output, console)
    if alignment is not None:
        save_permutation(alignment, permutation_file)
    result = {"command": "merge", "output": str(output), "weights": shares}
    result |= alignment.to_json() if alignment else {"symmetry": None, "matching": None}
    result["repair"] = repaired_json(mending, mended)
    text = alignment.to_text() if alignment else "averaged without aligning"
    console.result(result, f"{text}\n{repaired_text(mending, mended)}wrote {output}")


def _check_number(paths: Sequence[Path], permutation_file: Path | None) -> None:
    if len(paths) < 2:
        raise OneBasinError("merge: 1 checkpoint given; give two or more, the reference first")
    if len(paths) > 2 and permutation_file is not None:
        raise OneBasinError(
            f"merge: {len(paths)} checkpoints have more than one permutation; leave "
            "--save-permutation out, or merge two at a time"
        )


def _write(
    networks: Networks,
    alignment: Alignment | None,
    weights: Sequence[float],
    mending: Repair | None,
    output: Path,
    console: Console,
) -> Repaired | None:
    """Write the mean, repaired, under the names and with the dtypes of the reference's file."""
    from onebasin.checkpoints import write_checkpoint
    from onebasin.merging.averages import Mean

    params_list = networks.params_list
    moved = alignment.moved(params_list) if alignment else params_list
    reference, *others = networks.checkpoints
    mean, mended = Mean(moved, weights), None
    if mending is not None:
        ends = [dict(each) for each in moved]
        mended = mending.run(networks.architecture, dict(mean), ends, weights, console)
    with console.progress(f"writing {output}"):
        params = mean if mended is None else mended.params
        write_checkpoint(output, params, like=reference, inputs=others)
    return mended


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
