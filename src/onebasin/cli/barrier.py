"""`onebasin barrier`: the barrier between two networks before and after alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onebasin.cli.console import columns, open_console
from onebasin.cli.options import (
    Arch,
    ArchArgs,
    CheckpointA,
    CheckpointB,
    Inputs,
    Json,
    Prove,
    Quiet,
    Restarts,
    Seed,
    SymmetryFile,
)

if TYPE_CHECKING:
    from torch import Tensor

    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console
    from onebasin.cli.pairs import ArchitectureChoice, Pair
    from onebasin.cli.symmetries import SymmetryChoice
    from onebasin.measuring.curves import Chord, Curve, Normalization
    from onebasin.report.comparison import Curves
    from onebasin.training.datasets.dataset import Dataset


@dataclass(frozen=True)
class MeasuringChoice:
    """What the user said about measuring.

    Args:
        num_points: points of each curve.
        normalization: where running statistics between the ends come from.
        chord: what a barrier is measured from.
        plot: where the picture goes, or None.
    """

    num_points: int = 25
    normalization: Normalization = "interpolated"
    chord: Chord = "ends"
    plot: Path | None = None


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
    restarts: Restarts = None,
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


def run_barrier(
    architecture: ArchitectureChoice,
    paths: tuple[Path, Path],
    data_name: str,
    *,
    symmetry: SymmetryChoice | None,
    measuring: MeasuringChoice,
    restarts: int | None,
    console: Console,
) -> None:
    """Measure the barriers between A and B on a dataset, and print them.

    Args:
        architecture: of both.
        paths: A and B.
        data_name: which dataset.
        symmetry: where the symmetry comes from; None does not align.
        measuring: how to measure.
        restarts: number of starts of the matching.
        console: where the result is printed.
    """
    from onebasin.checkpoints import check_file_writable
    from onebasin.cli.alignment import align_pair
    from onebasin.cli.data import check_data
    from onebasin.cli.pairs import open_pair
    from onebasin.merging.moved import Moved
    from onebasin.report.comparison import lines_of
    from onebasin.report.figures import check_picture, curve_figure, save_figure
    from onebasin.training.datasets.catalogue import load_dataset

    if measuring.plot is not None:
        check_picture(measuring.plot)
        check_file_writable(measuring.plot, inputs=paths)
    data = load_dataset(data_name, seed=architecture.seed)
    with open_pair(architecture, paths, call="barrier", console=console) as pair:
        check_data(pair.architecture, data, call="barrier")
        alignment = None
        networks: dict[str, Mapping[str, Tensor]] = {"naive": pair.params_b}
        if symmetry is not None and not pair.is_same:
            alignment = align_pair(
                pair, symmetry, seed=architecture.seed, restarts=restarts, console=console
            )
            networks["aligned"] = Moved(pair.params_b, alignment.permutation)
        curves = {
            state: measure(pair, params_b, data, measuring, state, console)
            for state, params_b in networks.items()
        }
    if pair.is_same:
        console.note("A and B hold the same tensors")
    if measuring.plot is not None:
        save_figure(curve_figure(lines_of(curves)), measuring.plot)
    console.result(_data(curves, alignment, measuring, data), _text(curves, alignment, measuring))


def measure(
    pair: Pair,
    params_b: Mapping[str, Tensor],
    data: Dataset,
    measuring: MeasuringChoice,
    state: str,
    console: Console,
) -> dict[str, Curve]:
    """Return the curves between A and a network, on training and on test data."""
    from onebasin.forward.batches import Batches
    from onebasin.measuring.evaluation import evaluator
    from onebasin.measuring.interpolation import interpolate

    curves = {}
    for split, inputs, labels in (
        ("train", data.train_inputs, data.train_labels),
        ("test", data.test_inputs, data.test_labels),
    ):
        with console.progress(f"measuring {state}, {split}") as progress:
            curves[split] = interpolate(
                pair.architecture.module,
                pair.params_a,
                params_b,
                evaluator(inputs, labels),
                num_points=measuring.num_points,
                normalization=measuring.normalization,
                data=Batches(data.train_inputs, data.train_labels),
                progress=progress,
            )
    return curves


def _data(
    curves: Curves, alignment: Alignment | None, measuring: MeasuringChoice, data: Dataset
) -> dict[str, Any]:
    from onebasin.measuring.curves import plain_number
    from onebasin.report.comparison import barriers_of

    barriers = barriers_of(curves, measuring.chord)
    summary = alignment.to_json() if alignment else {"symmetry": None, "matching": None}
    return {
        "command": "barrier",
        "data": data.name,
        "barrier": {
            state: {
                split: {name: plain_number(value) for name, value in values.items()}
                for split, values in splits.items()
            }
            for state, splits in barriers.items()
        },
        "chord": measuring.chord,
        "normalization": measuring.normalization,
        **summary,
        "curves": {
            state: {split: curve.to_json() for split, curve in splits.items()}
            for state, splits in curves.items()
        },
    }


def _text(curves: Curves, alignment: Alignment | None, measuring: MeasuringChoice) -> str:
    from onebasin.report.comparison import barrier_rows, barriers_of

    parts = [alignment.to_text()] if alignment else []
    parts.append(columns(barrier_rows(barriers_of(curves, measuring.chord))))
    parts += [f"wrote {measuring.plot}"] if measuring.plot else []
    return "\n".join(parts)
