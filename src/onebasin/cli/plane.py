"""`onebasin plane`: the loss on the plane through three networks, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onebasin.cli.blocks import DataOptions, MatchingOptions, RunOptions, with_blocks
from onebasin.cli.console import columns
from onebasin.cli.measuring import (
    DataChoice,
    DataName,
    NormalizationName,
    TableFile,
)
from onebasin.cli.options import ArchAndTwoOrThree
from onebasin.cli.report_names import names_of

if TYPE_CHECKING:
    from torch import Tensor

    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console
    from onebasin.cli.request import Opened, Request
    from onebasin.measuring.curves import Normalization, Quantity
    from onebasin.measuring.planes import Plane
    from onebasin.training.datasets.data import Data


@dataclass(frozen=True)
class Drawing:
    """What the user said about the picture.

    Args:
        output: where it goes.
        save: where the numbers go, or None.
        quantity: what to draw.
        num_points: points along each side of the grid.
        margin: how far to go beyond the networks.
        normalization: where running statistics of the points come from.
    """

    output: Path
    save: Path | None = None
    quantity: Quantity = "loss"
    num_points: int = 25
    margin: float = 0.25
    normalization: Normalization = "interpolated"

    def check_outputs(self, inputs: Sequence[Path]) -> None:
        """Check, before long work, that what is asked for can be written.

        Raises:
            OneBasinError: when a suffix is unknown, a path cannot be written or is an input.
        """
        from onebasin.cli.measuring import MeasuringChoice

        MeasuringChoice(plot=self.output, save=self.save).check_outputs(inputs)


@with_blocks
def plane(
    *,
    networks: ArchAndTwoOrThree,
    data: DataName,
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Output picture (.png, .svg or .pdf).",
            show_default=False,
        ),
    ],
    reading: DataOptions,
    split: Annotated[Literal["test", "train"], typer.Option(help="Split of the data.")] = "test",
    quantity: Annotated[Literal["loss", "error"], typer.Option(help="Quantity to draw.")] = "loss",
    num_points: Annotated[int, typer.Option(min=2, help="Grid points along each side.")] = 25,
    margin: Annotated[
        float,
        typer.Option(min=0, help="Margin around the checkpoints, relative to their distance."),
    ] = 0.25,
    normalization: NormalizationName = "interpolated",
    save: TableFile = None,
    matching: MatchingOptions,
    options: RunOptions,
) -> None:
    """Draw the loss on the plane through three checkpoints.

    Without a third checkpoint, B aligned to A is the third one. The picture then shows whether
    alignment moves B into the basin of A.

    \b
    Examples:
      onebasin plane mlp a.safetensors b.safetensors --data digits -o plane.png
      onebasin plane mlp a.pt b.pt c.pt --data digits -o plane.svg --split train --save plane.csv
    """
    request = matching.request("plane", networks, options.seed, maximum=3)
    if len(request.paths) == 3:
        matching.refuse_useless("plane", "with three checkpoints, which are not aligned")
        request = request.unaligned()
    with options.open_console() as console:
        run_plane(
            request,
            reading.choice(data, options.seed, (split,)),
            drawing=Drawing(out, save, quantity, num_points, margin, normalization),
            console=console,
        )


def run_plane(
    request: Request, data_choice: DataChoice, *, drawing: Drawing, console: Console
) -> None:
    """Measure the plane through three networks, draw it, and say what was found.

    Args:
        request: A, B and, unless B is to be aligned to A for that, C.
        data_choice: what to measure on.
        drawing: what to draw and where.
        console: where the result is printed.
    """
    from onebasin.cli.alignment import align_networks
    from onebasin.cli.outputs import input_files
    from onebasin.cli.pairs import refuse_same
    from onebasin.cli.request import open_with_data

    names = names_of(request.paths, "plane")
    drawing.check_outputs(input_files(request, data_choice))
    opening = open_with_data(
        request,
        data_choice,
        normalization=drawing.normalization,
        call="plane",
        console=console,
    )
    with opening as opened:
        networks = opened.networks
        refuse_same(networks, "plane")
        corners: dict[str, Mapping[str, Tensor]] = dict(
            zip(names, networks.params_list, strict=True)
        )
        alignment = None
        if request.aligns:
            alignment = align_networks(networks, request.symmetry, opened.matcher, console)
            corners[f"{names[1]} aligned"] = alignment.moved(networks.params_list)[1]
        found = _measure(opened, corners, data_choice, drawing, console)
    _write(found, drawing)
    result = _data(request, found, alignment, data_choice, opened.data, drawing)
    console.result(result, _text(found, alignment, drawing))


def _measure(
    opened: Opened,
    corners: Mapping[str, Mapping[str, Tensor]],
    data_choice: DataChoice,
    drawing: Drawing,
    console: Console,
) -> Plane:
    from onebasin.measuring.planes import measure_plane

    data = opened.data
    (evaluate,) = data_choice.evaluators(data).values()
    with console.progress("measuring the plane") as progress:
        return measure_plane(
            opened.networks.architecture.module,
            corners,
            evaluate,
            num_points=drawing.num_points,
            margin=drawing.margin,
            normalization=drawing.normalization,
            data=data.batches(),
            progress=progress,
        )


def _write(found: Plane, drawing: Drawing) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    from onebasin.measuring.pictures import SETTINGS, save_figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(5.8, 4.6), layout="constrained")
        found.plot(figure.subplots(), quantity=drawing.quantity)
    save_figure(figure, drawing.output)
    if drawing.save is not None:
        found.save(drawing.save)


def _data(
    request: Request,
    found: Plane,
    alignment: Alignment | None,
    data_choice: DataChoice,
    data: Data,
    drawing: Drawing,
) -> dict[str, Any]:
    from onebasin.measuring.results import plain_rows

    summary = alignment.to_json() if alignment else {"symmetry": None, "matching": None}
    return {
        "command": "plane",
        "inputs": list(map(str, request.paths)),
        "output": str(drawing.output),
        "data": data.name,
        "normalize": data.normalization,
        "split": data_choice.available(data)[0],
        "normalization": found.normalization,
        **summary,
        "points": plain_rows(found.rows()),
    }


def _text(found: Plane, alignment: Alignment | None, drawing: Drawing) -> str:
    rows = [("network", "x", "y", "loss", "error")]
    for name, (x, y), (loss, error) in zip(found.names, found.places, found.found, strict=True):
        rows.append((name, f"{x:.3g}", f"{y:.3g}", f"{loss:.4f}", f"{error:.2%}"))
    parts = [alignment.to_text()] if alignment else []
    parts.append(columns(rows))
    parts += [f"wrote {path}" for path in (drawing.output, drawing.save) if path]
    return "\n".join(parts)
