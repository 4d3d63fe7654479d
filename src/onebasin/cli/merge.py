"""`onebasin merge`: networks aligned and averaged, written tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from onebasin.cli.blocks import MatchingOptions, RunOptions, with_blocks
from onebasin.cli.measuring import DataRoot, check_several
from onebasin.cli.options import Arch, MergingData, Output, PermutationFile
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console
    from onebasin.cli.pairs import Networks
    from onebasin.cli.repairing import Repair, RepairName
    from onebasin.cli.request import Request
    from onebasin.measuring.repairing import Repaired

WITH_DATA = "combined"
"""The method where there is data: the best of benchmarks/matchers.py that needs no labels.

`MergingData` and docs/cli.md tell the user.
"""


@with_blocks
def merge(
    *,
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
            help="Weights of the average, such as 0.7,0.3. They may be negative, and are divided "
            "by their sum; equal ones without it.",
            show_default=False,
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align/--no-align", help="Align the checkpoints before averaging.")
    ] = True,
    matching: MatchingOptions,
    data: MergingData = None,
    data_root: DataRoot = None,
    repair: Annotated[
        Literal["none", "reset", "repair", "rescale"] | None,
        typer.Option(
            help="Set the statistics of the mean's units from data: BatchNorm's alone (reset), "
            "means and deviations of all units (repair), or their sizes (rescale).",
            show_default="with --data reset where there is BatchNorm, repair where not; else none",
        ),
    ] = None,
    save_permutation: PermutationFile = None,
    options: RunOptions,
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
    request = matching.request(arch, checkpoints, options.seed, data=data, data_root=data_root)
    if not align:
        unused = {} if repair else {"--data": data, "--data-root": data_root}
        matching.refuse_useless(
            "merge",
            "with --no-align",
            before={"--save-permutation": save_permutation},
            after=unused,
        )
        request = request.unaligned()
    with options.open_console() as console:
        run_merge(
            request,
            out,
            weights=weights,
            repair=repair,
            permutation_file=save_permutation,
            console=console,
        )


def run_merge(
    request: Request,
    output: Path,
    *,
    weights: str | None,
    repair: RepairName | None,
    permutation_file: Path | None,
    console: Console,
) -> None:
    """Align networks, average them and write the mean.

    Args:
        request: which networks, and how to match them, if at all.
        output: where the mean goes.
        weights: numbers separated by commas, or None for equal ones.
        repair: what is done to the mean; None for what suits it where there is data.
        permutation_file: where the permutation goes, or None.
        console: where the result is printed.
    """

    from onebasin.cli.alignment import align_networks
    from onebasin.cli.data import check_data
    from onebasin.cli.outputs import check_outputs, save_permutation
    from onebasin.cli.pairs import refuse_same
    from onebasin.cli.repairing import Repair, repaired_json, repaired_text
    from onebasin.measuring.paths import shares_of

    num, method = len(request.paths), request.method
    check_several("merge", request.paths)
    _check_single(num, permutation_file)
    shares = shares_of(None if weights is None else parse_weights(weights), num)
    check_outputs(output, permutation_file, inputs=request.paths)
    data = method.load()
    if data is not None:
        request, data = request.fitted(data)
    mending = Repair.of(repair, data)
    matcher = None
    if request.aligns:
        default = "weights" if data is None else WITH_DATA
        is_of_use = mending is not None or request.is_fitted
        matcher = method.prepare(num, call="merge", data=data, is_of_use=is_of_use, default=default)
        if mending is not None:  # what the networks between will be, once repaired
            matcher = matcher.preferring(normalization="batch")
    is_run = mending is not None or bool(matcher and matcher.runs_model)
    with request.open(call="merge", console=console, is_run=is_run) as networks:
        refuse_same(networks, "merge")
        alignment = None
        if matcher is not None:
            matcher.check(networks.architecture, call="merge")
            alignment = align_networks(networks, request.symmetry, matcher, console)
        if mending is not None:
            check_data(networks.architecture, mending.data, call="merge")
            mending = mending.suited(networks.architecture.module)
        mended = _write(networks, alignment, shares, mending, output, console)
    if alignment is not None:
        save_permutation(alignment, permutation_file)
    result = {"command": "merge", "output": str(output), "weights": shares}
    result |= alignment.to_json() if alignment else {"symmetry": None, "matching": None}
    result["repair"] = repaired_json(mending, mended)
    text = alignment.to_text() if alignment else "averaged without aligning"
    console.result(result, f"{text}\n{repaired_text(mending, mended)}wrote {output}")


def _check_single(num: int, permutation_file: Path | None) -> None:
    if num > 2 and permutation_file is not None:
        raise OneBasinError(
            f"merge: {num} checkpoints have more than one permutation; leave "
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
        mended = mending.run(networks.architecture, moved, weights, console)
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
