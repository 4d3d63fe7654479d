"""`onebasin barrier`: the barriers between networks before and after alignment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onebasin.cli.blocks import DataOptions, MatchingOptions, RunOptions, with_blocks
from onebasin.cli.console import columns
from onebasin.cli.measuring import (
    DataChoice,
    DataName,
    LineNormalizationName,
    MeasuringChoice,
    TableFile,
)
from onebasin.cli.options import ArchAndSeveral

if TYPE_CHECKING:
    from torch import Tensor

    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console, Progress
    from onebasin.cli.evaluation_reports import EvaluationReport
    from onebasin.cli.request import Opened, Request
    from onebasin.measuring.curves import Curve
    from onebasin.report.comparison import Curves
    from onebasin.training.datasets.data import Data


@with_blocks
def barrier(
    *,
    networks: ArchAndSeveral,
    data: DataName,
    reading: DataOptions,
    split: Annotated[
        Literal["both", "train", "test"], typer.Option(help="Split of the data.")
    ] = "both",
    align: Annotated[
        bool,
        typer.Option("--align/--no-align", help="Also measure the barrier after aligning B to A."),
    ] = True,
    num_points: Annotated[
        int,
        typer.Option(min=2, help="Points of each curve, including both checkpoints."),
    ] = 25,
    normalization: LineNormalizationName = "interpolated",
    chord: Annotated[
        Literal["ends", "mean"],
        typer.Option(help="Baseline of the barrier: line between both losses, or their mean."),
    ] = "ends",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Plot the curves or matrices (.png, .svg or .pdf)."),
    ] = None,
    save: TableFile = None,
    matching: MatchingOptions,
    options: RunOptions,
) -> None:
    """Measure the barrier between two checkpoints, or between all pairs of more.

    Measures loss and error before and after alignment, on training and test data. Also prints
    the loss and error of the networks and of their averages. B is aligned by weights. Use
    --normalization reset or repair to measure the result of merge --data, with the same
    alignment. Three or more checkpoints are aligned in pairs, and the command also prints
    barriers around a third network.

    \b
    Examples:
      onebasin barrier mlp a.safetensors b.safetensors --data digits --plot curve.png
      onebasin barrier mlp a.pt b.pt --data digits --split test --method activations
      onebasin barrier mlp runs/*.safetensors --data digits --num-points 3 --save barriers.csv
    """
    from onebasin.cli.matrix import run_matrix

    splits = ("train", "test") if split == "both" else (split,)
    request = matching.request("barrier", networks, options.seed)
    if not align:
        matching.refuse_useless("barrier", "with --no-align")
        request = request.unaligned()
    run = run_barrier if len(request.paths) == 2 else run_matrix
    with options.open_console() as console:
        run(
            request,
            reading.choice(data, options.seed, splits),
            measuring=MeasuringChoice(num_points, normalization, chord, plot, save),
            console=console,
        )


def run_barrier(
    request: Request, data_choice: DataChoice, *, measuring: MeasuringChoice, console: Console
) -> None:
    """Measure the barriers between A and B on a dataset, and print them.

    Args:
        request: which networks, and how to match them.
        data_choice: what to measure on.
        measuring: how to measure.
        console: where the result is printed.
    """
    from onebasin.cli.alignment import align_networks
    from onebasin.cli.evaluations import report_of_curves
    from onebasin.cli.outputs import input_files
    from onebasin.cli.request import open_with_data
    from onebasin.report.comparison import lines_of
    from onebasin.report.figures import curve_figure, save_figure

    measuring.check_outputs(input_files(request, data_choice))
    opening = open_with_data(
        request,
        data_choice,
        normalization=measuring.normalization,
        call="barrier",
        console=console,
    )
    with opening as opened:
        networks, data = opened.networks, opened.data
        alignment = None
        ends: dict[str, Mapping[str, Tensor]] = {"naive": networks.params_list[1]}
        if request.aligns and networks.twins is None:
            alignment = align_networks(networks, request.symmetry, opened.matcher, console)
            ends["aligned"] = alignment.moved(networks.params_list)[1]
        curves: Curves = {}
        for state, params_b in ends.items():
            with console.progress(f"measuring {state}") as progress:
                curves[state] = _measure(opened, params_b, data_choice, measuring, progress)
        report = report_of_curves(curves, data_choice.evaluators(data), data)
    if networks.twins is not None:
        console.note("A and B hold the same tensors")
    report.note_weaknesses(["A", "B"], console)
    if measuring.plot is not None:
        save_figure(curve_figure(lines_of(curves)), measuring.plot)
    if measuring.save is not None:
        _save(curves, measuring.save)
    text = _text(curves, alignment, report, measuring)
    result = _data(request, curves, alignment, measuring, data)
    console.result({**result, "evaluation": report.to_json()}, text)


def _measure(
    opened: Opened,
    params_b: Mapping[str, Tensor],
    data_choice: DataChoice,
    measuring: MeasuringChoice,
    progress: Progress | None,
) -> dict[str, Curve]:
    """Return the curves between A and a network, by split."""
    from onebasin.measuring.interpolation import interpolate_splits

    networks, data = opened.networks, opened.data
    return interpolate_splits(
        networks.architecture.module,
        networks.params_list[0],
        params_b,
        data_choice.evaluators(data),
        num_points=measuring.num_points,
        normalization=measuring.normalization,
        data=data.batches(),
        progress=progress,
    )


def _save(curves: Curves, path: Path) -> None:
    from onebasin.measuring.results import save_rows

    rows = [
        {"state": state, "split": split, **row}
        for state, splits in curves.items()
        for split, curve in splits.items()
        for row in curve.rows()
    ]
    save_rows(rows, path)


def _data(
    request: Request,
    curves: Curves,
    alignment: Alignment | None,
    measuring: MeasuringChoice,
    data: Data,
) -> dict[str, Any]:
    from onebasin.measuring.curves import plain_number
    from onebasin.report.comparison import barriers_of

    barriers = barriers_of(curves, measuring.chord)
    summary = alignment.to_json() if alignment else {"symmetry": None, "matching": None}
    return {
        "command": "barrier",
        "inputs": list(map(str, request.paths)),
        "data": data.name,
        "normalize": data.normalization,
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


def _text(
    curves: Curves,
    alignment: Alignment | None,
    report: EvaluationReport,
    measuring: MeasuringChoice,
) -> str:
    from onebasin.report.comparison import barrier_rows, barriers_of

    parts = [alignment.to_text()] if alignment else []
    parts.append(measuring.to_text())
    parts.append(columns(barrier_rows(barriers_of(curves, measuring.chord))))
    parts += ["", report.to_text()]
    parts += [f"wrote {path}" for path in (measuring.plot, measuring.save) if path]
    return "\n".join(parts)
