"""`onebasin barrier`: the barrier between two networks before and after alignment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onebasin.checkpoints import check_file_writable
from onebasin.checkpoints.messages import one_line
from onebasin.cli.alignment import Alignment, align_pair
from onebasin.cli.console import Console, columns
from onebasin.cli.pairs import ArchitectureChoice, Pair, open_pair
from onebasin.cli.symmetries import SymmetryChoice
from onebasin.errors import OneBasinError
from onebasin.forward.batches import Batches, output_of
from onebasin.measuring.curves import Chord, Curve, Normalization, plain_number
from onebasin.measuring.evaluation import evaluator
from onebasin.measuring.interpolation import interpolate
from onebasin.merging.moved import Moved
from onebasin.report.comparison import Curves, barrier_rows, barriers_of, lines_of
from onebasin.report.figures import check_picture, curve_figure, save_figure
from onebasin.training.datasets.catalogue import load_dataset
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


def run_barrier(
    architecture: ArchitectureChoice,
    paths: tuple[Path, Path],
    data_name: str,
    *,
    symmetry: SymmetryChoice | None,
    measuring: MeasuringChoice,
    restarts: int,
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
    if measuring.plot is not None:
        check_picture(measuring.plot)
        check_file_writable(measuring.plot, inputs=paths)
    data = load_dataset(data_name, seed=architecture.seed)
    with open_pair(architecture, paths, call="barrier", console=console) as pair:
        check_data(pair, data)
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


def check_data(pair: Pair, data: Dataset) -> None:
    """Check that the architecture can be run on a dataset.

    Raises:
        OneBasinError: when it cannot, or its outputs are not one for each class.
    """
    name, module = pair.architecture.name, pair.architecture.module
    try:
        with torch.no_grad():
            outputs = output_of(module(data.test_inputs[:2]))
    # The module is the user's or another library's code and may raise anything.
    except Exception as error:
        shape = "x".join(map(str, data.test_inputs.shape[1:]))
        raise OneBasinError(
            f"barrier: {name} cannot be run on {data.name}, whose inputs are {shape} "
            f"({one_line(error)}); choose other data or another --arch-arg"
        ) from error
    if outputs.ndim != 2 or outputs.shape[1] < data.num_classes:
        raise OneBasinError(
            f"barrier: {name} returns {tuple(outputs.shape)} for two examples but {data.name} has "
            f"{data.num_classes} classes; choose other data or another --arch-arg"
        )


def measure(
    pair: Pair,
    params_b: Mapping[str, Tensor],
    data: Dataset,
    measuring: MeasuringChoice,
    state: str,
    console: Console,
) -> dict[str, Curve]:
    """Return the curves between A and a network, on training and on test data."""
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
    parts = [alignment.to_text()] if alignment else []
    parts.append(columns(barrier_rows(barriers_of(curves, measuring.chord))))
    parts += [f"wrote {measuring.plot}"] if measuring.plot else []
    return "\n".join(parts)
