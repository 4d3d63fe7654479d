"""`onebasin align`: align B to A and write it tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onebasin.cli.blocks import (
    DataOptions,
    EvaluationOptions,
    MatchingOptions,
    RunOptions,
    with_blocks,
)
from onebasin.cli.options import (
    ArchAndTwo,
    MethodData,
    Output,
    PermutationFile,
)

if TYPE_CHECKING:
    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console
    from onebasin.cli.evaluation_reports import Report
    from onebasin.cli.evaluations import EvaluationChoice
    from onebasin.cli.pairs import Networks
    from onebasin.cli.request import Request
    from onebasin.training.datasets.data import Data


@with_blocks
def align(
    *,
    networks: ArchAndTwo,
    out: Output,
    matching: MatchingOptions,
    data: MethodData = None,
    reading: DataOptions,
    save_permutation: PermutationFile = None,
    evaluation: EvaluationOptions,
    options: RunOptions,
) -> None:
    """Align checkpoint B to checkpoint A.

    Permutes the hidden units of B so that its weights are closest to those of A. With --data,
    matching also uses features. The function that B computes does not change. With --data, the
    command prints the loss and error of A, B, aligned B and their averages. Verifying the
    symmetry needs memory for the model in float64. With --no-prove, checkpoints can be larger
    than memory.

    \b
    Examples:
      onebasin align mlp a.safetensors b.safetensors -o aligned.safetensors
      onebasin align a/ b/ -o aligned/ --no-prove
      onebasin align mlp a.pt b.pt -o aligned.pt --method activations --data digits
      onebasin align my.models:build a.pt b.pt -o aligned.pt --input 2x3x32x32
    """
    request = matching.request(
        "align",
        networks,
        options.seed,
        maximum=2,
        data=reading.optional_choice(data, options.seed),
    )
    with options.open_console() as console:
        run_align(
            request,
            out,
            permutation_file=save_permutation,
            evaluation=evaluation.choice(data),
            console=console,
        )


def run_align(
    request: Request,
    output: Path,
    *,
    permutation_file: Path | None,
    evaluation: EvaluationChoice,
    console: Console,
) -> None:
    """Align B to A and write it.

    Args:
        request: which networks, and how to match them.
        output: where B goes.
        permutation_file: where the permutation goes, or None.
        evaluation: whether and how the networks are evaluated, if there are data.
        console: where the result is printed.
    """
    from onebasin.checkpoints import write_checkpoint
    from onebasin.cli.alignment import align_networks
    from onebasin.cli.data import note_normalization
    from onebasin.cli.outputs import check_outputs, output_metadata, save_permutations
    from onebasin.cli.pairs import refuse_same
    from onebasin.merging.moved import Moved

    check_outputs(output, permutation_file, request, like=request.paths[1])
    request, data = request.load_optional(call="align")
    evaluation.check(data)
    matcher = request.method.prepare(call="align", data=data, is_of_use=request.is_fitted)
    is_run = matcher.runs_model or evaluation.runs_model(data)
    opening = request.open(call="align", console=console, is_run=is_run)
    with opening as networks:
        refuse_same(networks, "align")
        matcher = matcher.laid_out(networks.architecture, call="align")
        if matcher.data is not None:
            reference = networks.params_list[0]
            note_normalization(networks.architecture, reference, matcher.data, console)
        alignment = align_networks(networks, request.symmetry, matcher, console)
        a, b = networks.checkpoints
        with console.progress(f"writing {output}"):
            moved = Moved(b, alignment.permutation)
            metadata = output_metadata(
                networks,
                "align",
                method=alignment.method,
                seed=request.method.seed,
                keys=list(request.keys) or None,
            )
            write_checkpoint(output, moved, like=b, inputs=[a], metadata=metadata)
        report = _report(networks, alignment, data, evaluation, console)
    saved = save_permutations(alignment, permutation_file)
    result = {
        "command": "align",
        "inputs": list(map(str, request.paths)),
        "output": str(output),
        "permutations": list(map(str, saved)),
        **alignment.to_json(),
        "evaluation": None if report is None else report.to_json(),
    }
    parts = [alignment.to_text(), *([report.to_text()] if report else [])]
    parts += [f"wrote {path}" for path in (output, *saved)]
    console.result(result, "\n".join(parts))


def _report(
    networks: Networks,
    alignment: Alignment,
    data: Data | None,
    evaluation: EvaluationChoice,
    console: Console,
) -> Report | None:
    """Return the evaluations of A, B, aligned B and their averages."""
    from onebasin.cli.evaluations import note_changed_function
    from onebasin.cli.report_names import ALIGNED, UNALIGNED
    from onebasin.merging.averages import Mean

    a, b = networks.params_list
    moved = alignment.moved(networks.params_list)[1]
    named = {"A": a, "B": b, "B aligned": moved}
    named |= {UNALIGNED: Mean([a, b]), ALIGNED: Mean([a, moved])}
    report = evaluation.report(
        networks.architecture,
        named,
        data,
        call="align",
        given=["A", "B"],
        ensemble=False,
        console=console,
    )
    if report is not None:
        report.note_weaknesses(["A", "B"], console)
        note_changed_function(report, console)
    return report
