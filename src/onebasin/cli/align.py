"""`onebasin align`."""

from __future__ import annotations

from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.data import DataOptions
from onebasin.cli.options.evaluation import EvaluationOptions
from onebasin.cli.options.matching import MatchingOptions, MethodData, PermutationFile
from onebasin.cli.options.networks import ArchAndTwo, Output
from onebasin.cli.options.run import RunOptions


@with_option_groups
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
    symmetry needs memory for the model in float64. With --no-verify, checkpoints can be larger
    than memory.

    \b
    Examples:
      onebasin align mlp a.safetensors b.safetensors -o aligned.safetensors
      onebasin align a/ b/ -o aligned/ --no-verify
      onebasin align mlp a.pt b.pt -o aligned.pt --method activations --data digits
      onebasin align my.models:build a.pt b.pt -o aligned.pt --input 2x3x32x32
    """
    model, paths = matching.networks("align", networks, maximum=2)
    source = reading.optional_source(data, options.seed)
    with options.open_console() as console:
        from onebasin import api

        aligned = api.align(
            model,
            *paths,
            data=source,
            output=out,
            save_permutation=save_permutation,
            **matching.keywords,
            **evaluation.keywords,
            **options.keywords,
        )
        console.result("align", aligned, paths, [out, *aligned.permutation_files])
