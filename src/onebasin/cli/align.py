"""`onebasin align`: B moved to A, written tensor by tensor."""

from __future__ import annotations

from pathlib import Path

from onebasin.checkpoints import check_file_writable, check_writable, write_checkpoint
from onebasin.cli.alignment import Alignment, align_pair
from onebasin.cli.console import Console
from onebasin.cli.pairs import ArchitectureChoice, open_pair, refuse_same
from onebasin.cli.symmetries import SymmetryChoice
from onebasin.errors import OneBasinError
from onebasin.merging.moved import Moved


def run_align(
    architecture: ArchitectureChoice,
    paths: tuple[Path, Path],
    output: Path,
    *,
    symmetry: SymmetryChoice,
    permutation_file: Path | None,
    restarts: int,
    console: Console,
) -> None:
    """Align B to A and write it.

    Args:
        architecture: of both.
        paths: A and B.
        output: where B goes.
        symmetry: where the symmetry comes from.
        permutation_file: where the permutation goes, or None.
        restarts: number of starts of the matching.
        console: where the result is printed.
    """
    check_outputs(output, permutation_file, inputs=paths)
    with open_pair(
        architecture, paths, call="align", console=console, is_run=symmetry.proves
    ) as pair:
        refuse_same(pair, "align")
        alignment = align_pair(
            pair, symmetry, seed=architecture.seed, restarts=restarts, console=console
        )
        with console.progress(f"writing {output}"):
            write_checkpoint(
                output,
                Moved(pair.checkpoint_b, alignment.permutation),
                like=pair.checkpoint_b,
                inputs=[pair.checkpoint_a],
            )
    save_permutation(alignment, permutation_file)
    data = {"command": "align", "output": str(output), **alignment.to_json()}
    console.result(data, f"{alignment.to_text()}\nwrote {output}")


def check_outputs(output: Path, permutation_file: Path | None, *, inputs: tuple[Path, ...]) -> None:
    """Check, before long work, that what is asked for can be written.

    Raises:
        OneBasinError: when a path cannot be written, is an input, or is given twice.
    """
    check_writable(output, inputs=inputs)
    if permutation_file is not None:
        check_file_writable(permutation_file, inputs=inputs)
        if permutation_file.resolve() == output.resolve():
            raise OneBasinError(
                f"{output}: cannot hold both the network and the permutation; give two paths"
            )


def save_permutation(alignment: Alignment, path: Path | None) -> None:
    """Write the permutation where one is asked for."""
    if path is not None:
        alignment.permutation.save(path)
