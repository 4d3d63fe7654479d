"""`onebasin merge`: align networks, average them and write the average tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onebasin.cli.blocks import (
    DataOptions,
    EvaluationOptions,
    MatchingOptions,
    RunOptions,
    refuse_given,
    with_blocks,
)
from onebasin.cli.options import ArchAndSeveral, MergingData, Output, PermutationFile
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console
    from onebasin.cli.evaluation_reports import Report
    from onebasin.cli.evaluations import EvaluationChoice
    from onebasin.cli.methods import Matcher
    from onebasin.cli.pairs import Networks
    from onebasin.cli.repairing import Repair, RepairName
    from onebasin.cli.request import Request
    from onebasin.measuring.repairing import Repaired
    from onebasin.training.datasets.data import Data


@with_blocks
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
    matching: MatchingOptions,
    data: MergingData = None,
    reading: DataOptions,
    repair: Annotated[
        Literal["none", "reset", "repair", "rescale"] | None,
        typer.Option(
            help="Repair activation statistics of the average with data: recompute BatchNorm "
            "statistics (reset), match mean and standard deviation of all units (repair), or "
            "match only their scale (rescale).",
            show_default="with --data: reset for BatchNorm networks, repair for others; "
            "otherwise none",
        ),
    ] = None,
    save_permutation: PermutationFile = None,
    evaluation: EvaluationOptions,
    options: RunOptions,
) -> None:
    """Align checkpoints and average them.

    With --data, matching uses weights and features, and the activation statistics of the
    average are repaired; this helps narrow networks most. The command then prints the loss and
    error of all networks, of the unaligned average, of the result and of the ensemble. The
    output has the tensor names and dtypes of A. Use --no-align for checkpoints that are
    already aligned.

    \b
    Examples:
      onebasin merge mlp a.safetensors b.safetensors -o merged.safetensors
      onebasin merge timm:resnet18 a.pt b.pt -o merged.safetensors --weights 0.7,0.3
      onebasin merge a/ b/ -o merged/ --no-prove
      onebasin merge mlp a.pt b.pt -o merged.pt --data digits
      onebasin merge mlp a.pt b.pt c.pt -o mean.pt --no-align
    """
    request = matching.request(
        "merge", networks, options.seed, data=reading.optional_choice(data, options.seed)
    )
    if not align:
        matching.refuse_useless(
            "merge",
            "with --no-align",
            before={"--save-permutation": save_permutation},
        )
        if repair == "none":
            refuse_given("merge", {"--data": data}, "with --no-align and --repair none")
        request = request.unaligned()
    with options.open_console() as console:
        run_merge(
            request,
            out,
            weights=weights,
            repair_name=repair,
            permutation_file=save_permutation,
            evaluation=evaluation.choice(data),
            console=console,
        )


def run_merge(
    request: Request,
    output: Path,
    *,
    weights: str | None,
    repair_name: RepairName | None,
    permutation_file: Path | None,
    evaluation: EvaluationChoice,
    console: Console,
) -> None:
    """Align networks, average them and write the mean.

    Args:
        request: which networks, and how to match them, if at all.
        output: where the mean goes.
        weights: numbers separated by commas, or None for equal ones.
        repair_name: repair of the mean; None for the default of the architecture and data.
        permutation_file: where the permutation goes, or None.
        evaluation: whether and how the networks are evaluated, if there are data.
        console: where the result is printed.
    """
    from onebasin.cli.outputs import check_outputs, save_permutations
    from onebasin.cli.pairs import refuse_same
    from onebasin.cli.repairing import Repair
    from onebasin.measuring.paths import shares_of

    shares = shares_of(None if weights is None else parse_weights(weights), len(request.paths))
    check_outputs(output, permutation_file, request, like=request.paths[0])
    request, data = request.load_optional(call="merge")
    evaluation.check(data)
    repair = Repair.of(repair_name, data)
    matcher = _matcher(request, data, repair)
    is_run = repair is not None or bool(matcher and matcher.runs_model)
    is_run = is_run or evaluation.runs_model(data)
    with request.open(call="merge", console=console, is_run=is_run) as networks:
        refuse_same(networks, "merge")
        merged = _merge(networks, request, shares, matcher, repair, data, console)
        _write(networks, merged, request, output, console)
        report = _report(networks, merged.params, shares, data, evaluation, console)
    saved = save_permutations(merged.alignment, permutation_file) if merged.alignment else []
    console.result(
        _result(request, merged, report, output, saved),
        _text(merged, report, [output, *saved]),
    )


@dataclass(frozen=True)
class _Merged:
    """An average, and how it was computed.

    Args:
        params: its parameters and buffers.
        weights: weights of the networks.
        alignment: of the networks before averaging, or None.
        repair: what was to be repaired, or None.
        repaired: result of the repair, or None.
    """

    params: Mapping[str, Tensor]
    weights: Sequence[float]
    alignment: Alignment | None
    repair: Repair | None
    repaired: Repaired | None


def _merge(
    networks: Networks,
    request: Request,
    weights: Sequence[float],
    matcher: Matcher | None,
    repair: Repair | None,
    data: Data | None,
    console: Console,
) -> _Merged:
    """Align networks, if there is a matcher, and average and repair them."""
    from onebasin.cli.alignment import align_networks
    from onebasin.cli.data import note_normalization

    architecture = networks.architecture
    _note_averages(architecture.module, has_data=data is not None, console=console)
    if repair is not None:
        repair = repair.suited(architecture.module).laid_out(architecture)
    if matcher is not None:
        matcher = matcher.laid_out(architecture, call="merge")
    seen = repair.data if repair is not None else matcher and matcher.data
    if seen is not None:
        note_normalization(architecture, networks.params_list[0], seen, console)
    alignment = None
    if matcher is not None:
        alignment = align_networks(networks, request.symmetry, matcher, console)
    params, repaired = _average(networks, alignment, weights, repair, console)
    return _Merged(params, weights, alignment, repair, repaired)


def _result(
    request: Request,
    merged: _Merged,
    report: Report | None,
    output: Path,
    saved: Sequence[Path],
) -> dict[str, Any]:
    alignment, repair, repaired = merged.alignment, merged.repair, merged.repaired
    return {
        "command": "merge",
        "inputs": list(map(str, request.paths)),
        "output": str(output),
        "permutations": list(map(str, saved)),
        "weights": merged.weights,
        **(alignment.to_json() if alignment else {"symmetry": None, "matching": None}),
        "repair": repair.to_json(repaired) if repair and repaired else None,
        "evaluation": None if report is None else report.to_json(),
    }


def _text(merged: _Merged, report: Report | None, written: Sequence[Path]) -> str:
    repair, repaired = merged.repair, merged.repaired
    parts = [merged.alignment.to_text() if merged.alignment else "averaged without aligning"]
    parts += [repair.to_text(repaired)] if repair and repaired else []
    parts += [report.to_text()] if report else []
    return "\n".join([*parts, *(f"wrote {path}" for path in written)])


def _note_averages(model: nn.Module, *, has_data: bool, console: Console) -> None:
    """Note averaged tensors that do not fit the averaged weights."""
    from onebasin.forward.normalization import keeps_spectral_vectors, layers_with_statistics

    if layers_with_statistics(model) and not has_data:
        console.note("running statistics are averaged; pass --data to recompute them")
    if keeps_spectral_vectors(model):
        console.note(
            "the vectors of spectral normalization are averaged; run a few forward passes in "
            "training mode to recompute them"
        )


def _matcher(request: Request, data: Data | None, repair: Repair | None) -> Matcher | None:
    """Return the method that the user asked for, or the default; None where nothing is aligned."""
    if not request.aligns:
        return None
    matcher = request.method.prepare(
        len(request.paths),
        call="merge",
        data=data,
        is_of_use=repair is not None or request.is_fitted,
    )
    if repair is None:
        return matcher
    # What the networks between will be, once repaired.
    return matcher.preferring(normalization="batch")


def _average(
    networks: Networks,
    alignment: Alignment | None,
    weights: Sequence[float],
    repair: Repair | None,
    console: Console,
) -> tuple[Mapping[str, Tensor], Repaired | None]:
    """Return the mean, and what was repaired; without a repair the mean is lazy."""
    from onebasin.merging.averages import Mean

    params_list = networks.params_list
    moved = alignment.moved(params_list) if alignment else params_list
    mean = Mean(moved, weights)
    for note in mean.notes:
        console.note(note)
    if repair is None:
        return mean, None
    repaired = repair.run(networks.architecture, moved, weights, console)
    return repaired.params, repaired


def _write(
    networks: Networks, merged: _Merged, request: Request, output: Path, console: Console
) -> None:
    """Write the mean under the names and with the dtypes of the reference's file."""
    from onebasin.checkpoints import with_unsaved, write_checkpoint
    from onebasin.cli.outputs import output_metadata

    metadata = output_metadata(
        networks,
        "merge",
        weights=merged.weights,
        method=merged.alignment and merged.alignment.method,
        repair=merged.repair and merged.repair.method,
        seed=request.method.seed,
        keys=list(request.keys) or None,
    )
    reference, *others = networks.checkpoints
    with console.progress(f"writing {output}"):
        tensors = with_unsaved(merged.params, reference)
        write_checkpoint(output, tensors, like=reference, inputs=others, metadata=metadata)


def _report(
    networks: Networks,
    params: Mapping[str, Tensor],
    weights: Sequence[float],
    data: Data | None,
    evaluation: EvaluationChoice,
    console: Console,
) -> Report | None:
    """Return the evaluations of the parents, their average, the result and the ensemble."""
    from onebasin.cli.report_names import MERGED, UNALIGNED, names_of
    from onebasin.merging.averages import Mean

    paths = [checkpoint.path for checkpoint in networks.checkpoints]
    given = ["A", "B"] if len(paths) == 2 else names_of(paths, "merge", reserved=[MERGED])
    named: dict[str, Mapping[str, Tensor]] = dict(zip(given, networks.params_list, strict=True))
    named |= {UNALIGNED: Mean(networks.params_list, weights), MERGED: params}
    report = evaluation.report(
        networks.architecture,
        named,
        data,
        call="merge",
        given=given,
        ensemble=True,
        console=console,
    )
    if report is not None:
        report.note_weaknesses(given, console)
    return report


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
