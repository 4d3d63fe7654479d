"""`onebasin align`: B moved to A, written tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onebasin.cli.blocks import DataOptions, MatchingOptions, RunOptions, with_blocks
from onebasin.cli.options import (
    ArchAndTwo,
    MethodData,
    Output,
    PermutationFile,
)

if TYPE_CHECKING:
    from onebasin.cli.console import Console
    from onebasin.cli.request import Request


@with_blocks
def align(
    *,
    networks: ArchAndTwo,
    out: Output,
    matching: MatchingOptions,
    data: MethodData = None,
    reading: DataOptions,
    save_permutation: PermutationFile = None,
    options: RunOptions,
) -> None:
    """Move checkpoint B to checkpoint A.

    The units of B are put into the order in which its weights are closest to A's, with --data
    its weights and features, or as another --method says; what it computes stays the same.
    Proving the symmetry first takes memory for the model in float64; --no-prove does without,
    and then checkpoints larger than memory can be aligned.

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
        run_align(request, out, permutation_file=save_permutation, console=console)


def run_align(
    request: Request, output: Path, *, permutation_file: Path | None, console: Console
) -> None:
    """Align B to A and write it.

    Args:
        request: which networks, and how to match them.
        output: where B goes.
        permutation_file: where the permutation goes, or None.
        console: where the result is printed.
    """
    from onebasin.checkpoints import write_checkpoint
    from onebasin.cli.alignment import align_networks
    from onebasin.cli.outputs import check_outputs, save_permutations
    from onebasin.cli.pairs import refuse_same
    from onebasin.merging.moved import Moved

    check_outputs(output, permutation_file, request, like=request.paths[1])
    request, data = request.load_optional(call="align")
    matcher = request.method.prepare(call="align", data=data, is_of_use=request.is_fitted)
    opening = request.open(call="align", console=console, is_run=matcher.runs_model)
    with opening as networks:
        refuse_same(networks, "align")
        matcher = matcher.laid_out(networks.architecture, call="align")
        alignment = align_networks(networks, request.symmetry, matcher, console)
        a, b = networks.checkpoints
        with console.progress(f"writing {output}"):
            write_checkpoint(output, Moved(b, alignment.permutation), like=b, inputs=[a])
    saved = save_permutations(alignment, permutation_file)
    result = {
        "command": "align",
        "inputs": list(map(str, request.paths)),
        "output": str(output),
        "permutations": list(map(str, saved)),
        **alignment.to_json(),
    }
    wrote = [f"wrote {path}" for path in (output, *saved)]
    console.result(result, "\n".join([alignment.to_text(), *wrote]))
