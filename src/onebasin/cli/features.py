"""`onebasin features`: what linear connectivity looks like inside two networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from onebasin.cli.blocks import (
    DataOptions,
    MatchingOptions,
    RunOptions,
    refuse_given,
    with_blocks,
)
from onebasin.cli.console import columns
from onebasin.cli.measuring import DataChoice, DataName, LineNormalizationName
from onebasin.cli.options import ArchAndTwo
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console
    from onebasin.cli.request import Opened, Request
    from onebasin.measuring.curves import LineNormalization
    from onebasin.measuring.features import FeatureTable
    from onebasin.training.datasets.data import Data

MeasureName = Literal[
    "llfc", "additivity", "commutativity", "similarity", "lemma", "averaging", "all"
]
Split = Literal["train", "test"]
FORMS = ("csv", "json", "png")
OF_LOSSES = ("lemma", "averaging", "all")
OF_ENDS = ("additivity", "commutativity", "similarity")


@dataclass(frozen=True)
class FeaturesChoice:
    """What the user said about measuring.

    Args:
        measure: which one, or "all".
        split: which examples.
        layers: patterns for names of layers, or None.
        normalization: where statistics between the ends come from.
        batch_size: examples that are run at once.
    """

    measure: MeasureName = "llfc"
    split: Split = "test"
    layers: Sequence[str] | None = None
    normalization: LineNormalization = "interpolated"
    batch_size: int = 500

    def refuse_useless(self) -> None:
        """Check that every option has an effect.

        Raises:
            OneBasinError: naming one that has none.
        """
        if self.layers and self.measure == "lemma":
            raise OneBasinError(
                "features: --layer has no effect on --measure lemma, which uses the outputs; "
                "remove it"
            )
        if self.normalization != "interpolated" and self.measure in OF_ENDS:
            raise OneBasinError(
                f"features: --normalization has no effect on --measure {self.measure}, which uses "
                "only A and B; remove it"
            )


@with_blocks
def features(
    *,
    networks: ArchAndTwo,
    data: DataName,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Output folder for tables (.csv, .json) and plots (.png).",
            show_default=False,
        ),
    ],
    reading: DataOptions,
    measure: Annotated[MeasureName, typer.Option(help="Measurement to run.")] = "llfc",
    split: Annotated[Split, typer.Option(help="Split of the data.")] = "test",
    permutation: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Apply a permutation of align --save-permutation to B instead of aligning it.",
            show_default=False,
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align/--no-align", help="Align B to A first, as in barrier.")
    ] = True,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Layers to measure, such as 'layers.*' or '*relu*'; may be repeated.",
            show_default=False,
        ),
    ] = None,
    normalization: LineNormalizationName = "interpolated",
    batch_size: Annotated[int, typer.Option(min=1, help="Examples per batch.")] = 500,
    matching: MatchingOptions,
    options: RunOptions,
) -> None:
    """Compare the features of two checkpoints layer by layer.

    B is aligned to A first, as in barrier; use --no-align to compare unaligned networks. The
    measurements are layerwise linear feature connectivity of the midpoint (llfc), additivity of
    nonlinear functions (additivity), commutativity of weights (commutativity), similarity of
    features (similarity), the 2ε lemma (lemma), and the best possible average (averaging).

    \b
    Examples:
      onebasin features mlp a.safetensors b.safetensors --data digits -o features
      onebasin features mlp a.pt b.pt --data digits --split train --num-train 1000 -o features
      onebasin features mlp a.pt b.pt --data digits --permutation p.safetensors -o features
    """
    choice = FeaturesChoice(measure, split, layer, normalization, batch_size)
    choice.refuse_useless()
    request = matching.request("features", networks, options.seed, maximum=2)
    if not align:
        refuse_given("features", {"--permutation": permutation}, "with --no-align")
        matching.refuse_useless("features", "with --no-align")
        request = request.unaligned()
    if permutation is not None:
        refuse_given("features", matching.of_method, "with --permutation")
    with options.open_console() as console:
        run_features(
            request,
            reading.choice(data, options.seed, (split,)),
            output,
            permutation_file=permutation,
            choice=choice,
            console=console,
        )


def run_features(
    request: Request,
    data_choice: DataChoice,
    output: Path,
    *,
    permutation_file: Path | None,
    choice: FeaturesChoice,
    console: Console,
) -> None:
    """Measure features of A and B on a dataset, print and write them.

    Args:
        request: which networks, and how to match them.
        data_choice: which dataset.
        output: folder for tables and pictures.
        permutation_file: a permutation that moves B instead of matching, or None.
        choice: what to measure, and how.
        console: where the result is printed.
    """
    from onebasin.cli.outputs import check_files_in, input_files, made_folder
    from onebasin.cli.request import open_with_data

    opening = open_with_data(
        request,
        data_choice,
        normalization=choice.normalization,
        call="features",
        console=console,
        needs_loss=choice.measure in OF_LOSSES,
    )
    names = [f"{name}.{form}" for name in get_args(MeasureName) for form in FORMS]
    check_files_in(output, names, input_files(request, data_choice))
    with made_folder(output, "--output") as folder, opening as opened:
        networks, data = opened.networks, opened.data
        choice = replace(choice, split=data_choice.available(data)[0])
        params_b, alignment = _moved(opened, request, permutation_file, console)
        params = networks.params_list[0], params_b
        tables = measure_all(networks.architecture.module, params, data, choice, console)
        if not tables:
            raise OneBasinError(f"features: the model has nothing to measure as {choice.measure}")
        files = [folder / f"{name}.{form}" for name in tables for form in FORMS]
        for path in files:
            tables[path.stem].save(path)
    summary = alignment.to_json() if alignment else {"symmetry": None, "matching": None}
    how = alignment.to_text() if alignment else _unaligned(permutation_file)
    console.result(
        {
            "command": "features",
            "data": data.name,
            "split": choice.split,
            **summary,
            "files": list(map(str, files)),
            "features": {name: table.to_json() for name, table in tables.items()},
        },
        "\n\n".join(
            [
                how,
                *(_text(n, t) for n, t in tables.items()),
                f"wrote {len(files)} files to {folder}",
            ]
        ),
    )


def _unaligned(path: Path | None) -> str:
    return "B is not aligned" if path is None else f"B is moved by {path}"


def _moved(
    opened: Opened, request: Request, path: Path | None, console: Console
) -> tuple[Mapping[str, Tensor], Alignment | None]:
    """Return B, aligned to A or moved by the permutation of a file, and the alignment."""
    from onebasin.cli.alignment import align_networks
    from onebasin.cli.symmetries import find_symmetry
    from onebasin.merging.moved import Moved
    from onebasin.symmetry import Permutation

    networks = opened.networks
    params_b = networks.params_list[1]
    if path is not None:
        found = find_symmetry(
            networks.architecture, request.symmetry, console, states=networks.params_list
        )
        return Moved(params_b, Permutation.load(path, found.symmetry)), None
    if not request.aligns or networks.twins is not None:
        return params_b, None
    alignment = align_networks(networks, request.symmetry, opened.matcher, console)
    return alignment.moved(networks.params_list)[1], alignment


def measure_all(
    module: nn.Module,
    params: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    data: Data,
    choice: FeaturesChoice,
    console: Console,
) -> dict[str, FeatureTable]:
    """Return what is asked for by name, all but averaging from one pass over the data."""
    from onebasin.measuring.features import average_features

    train = data.batches("train", choice.batch_size)
    batches = data.batches(choice.split, choice.batch_size)
    # Read into memory once: they are run batch by batch, and a permutation moves at every read.
    params_a, params_b = ({name: each[name] for name in each} for each in params)
    tables: dict[str, FeatureTable] = {}
    if choice.measure != "averaging":
        tables |= _survey(module, (params_a, params_b), (batches, train), choice, console)
    if choice.measure in ("averaging", "all"):
        with console.progress("averaging, each layer") as progress:
            tables["averaging"] = average_features(
                module,
                params_a,
                params_b,
                batches,
                layers=choice.layers,
                normalization=choice.normalization,
                statistics=train,
                progress=progress,
            )
    return tables


def _survey(
    module: Any,
    params: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    batches: tuple[Iterable[Any], Iterable[Any]],
    choice: FeaturesChoice,
    console: Console,
) -> dict[str, FeatureTable]:
    """Run the measures that look at the same networks in step."""
    from onebasin.measuring.features import additivity, commutativity, lemma, llfc, similarity
    from onebasin.measuring.features.survey import ALPHAS, Survey, path_between

    everything = choice.measure == "all"
    makers: dict[str, Callable[[], Any]] = {
        "llfc": llfc.LLFCMeasure,
        "additivity": lambda: additivity.AdditivityMeasure(is_optional=everything),
        "commutativity": lambda: commutativity.CommutativityMeasure(is_optional=everything),
        "similarity": similarity.SimilarityMeasure,
        "lemma": lemma.LemmaMeasure,
    }
    measures = {n: make() for n, make in makers.items() if everything or n == choice.measure}
    alphas = ALPHAS if {"llfc", "lemma"} & measures.keys() else ()
    data, statistics = batches
    total = len(data) if isinstance(data, Sized) else 0
    with console.progress(f"measuring {choice.measure}, each batch") as progress:
        show = None if progress is None else lambda done: progress(done, total)
        path = path_between(
            module,
            *params,
            alphas,
            normalization=choice.normalization,
            statistics=statistics,
        )
        survey = Survey(module, data, path, layers=choice.layers)
        survey.run(list(measures.values()), show)
    found = {name: measure.result() for name, measure in measures.items()}
    return {name: table for name, table in found.items() if table.records}


def _text(name: str, table: FeatureTable) -> str:
    """Return a table for people: the means by layer, at the alpha closest to a half."""
    from onebasin.measuring.features import Lemma

    alpha = table.middle
    title = name if alpha is None else f"{name}, α = {alpha:g}"
    if isinstance(table, Lemma):
        says = "kept" if table.holds else "not kept, so LLFC does not hold at the outputs"
        return (
            f"lemma: error of the ends at most {table.epsilon:.4f}, on the path at most "
            f"{table.path_error:.4f}; the bound of {table.bound:.4f} is {says}"
        )
    rows = [(title, *table.measures)]
    for layer in table.layers:
        found = {r.measure: r for r in table.records if r.layer == layer and _shown(r, alpha)}
        rows.append(
            (layer, *(f"{found[m].mean:.4f}" if m in found else "" for m in table.measures))
        )
    return columns(rows)


def _shown(record: Any, alpha: float | None) -> bool:
    # Ends have a share of A of their own, 0 or 1.
    return record.alpha in (None, alpha, 0.0, 1.0)
