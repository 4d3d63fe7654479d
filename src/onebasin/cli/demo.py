"""`onebasin demo`: train, align, merge and measure two networks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onebasin.cli.blocks import RunOptions, with_blocks
from onebasin.cli.console import columns

if TYPE_CHECKING:
    from torch import Tensor

    from onebasin.checkpoints import Architecture
    from onebasin.cli.alignment import Alignment
    from onebasin.cli.console import Console
    from onebasin.report.comparison import Curves
    from onebasin.report.demo import DemoResult
    from onebasin.training.datasets.dataset import Dataset

EPOCHS = 50
NETWORK = "64-512-512-512-10"


@with_blocks
def demo(
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the report and all files.")
    ] = Path("demo-out"),
    options: RunOptions,
) -> None:
    """Train two networks, align, merge, and write a report.

    Takes about half a minute. Writes report.html, curve.png, result.json and the checkpoints
    a.safetensors, b.safetensors, aligned.safetensors and merged.safetensors to DIR.

    \b
    Example:
      onebasin demo --out demo-out
    """
    with options.open_console() as console:
        run_demo(out, seed=options.seed, console=console)


def run_demo(folder: Path, *, seed: int, console: Console) -> None:
    """Run the demonstration and write everything it makes into a folder.

    Args:
        folder: made where it is missing; files of an earlier run are replaced.
        seed: of the split of the data and, with the next one, of the two networks.
        console: where the result is printed.
    """
    from onebasin.checkpoints import build_architecture, write_checkpoint
    from onebasin.cli.outputs import check_files_in, make_folder
    from onebasin.merging.averages import merge
    from onebasin.report.demo import FILES, DemoResult, write_demo
    from onebasin.training.datasets.digits import load_digits
    from onebasin.training.train import train

    check_files_in(folder, [*FILES, "report.html"])
    make_folder(folder, "--out")
    seconds: dict[str, float] = {}
    with timed(seconds, "total"):
        architecture, data = build_architecture("mlp", seed=seed), load_digits()
        with timed(seconds, "train"), console.progress("training A and B") as progress:
            seeds = [seed, seed + 1]
            # Trained to the end: a little after the loss is low, aligned networks lie closer.
            a, b = train(
                architecture.module,
                data,
                seeds=seeds,
                epochs=EPOCHS,
                stop_loss=None,
                progress=progress,
            )
        alignment = _align(architecture, a.params, b.params, seed, seconds, console)
        aligned = alignment.permutation.apply(b.params)
        merged = merge([a.params, aligned])
        with timed(seconds, "measure"):
            networks = {"naive": b.params, "aligned": aligned}
            curves = _curves(architecture, a.params, networks, data, console)
            accuracy = _accuracy(architecture, curves, merged, data)
    files = {"a": a.params, "b": b.params, "aligned": aligned, "merged": merged}
    metadata = _metadata(folder, alignment.method, seed)
    for name, params in files.items():
        # Sorted as files are read, so that `align` and `merge` write the same bytes.
        params = dict(sorted(params.items()))
        write_checkpoint(folder / f"{name}.safetensors", params, metadata=metadata[name])
    result = DemoResult(
        curves=curves,
        accuracy=accuracy,
        symmetry=_symmetry(alignment),
        matching=_matching(alignment),
        seconds=seconds,
        setting=_setting(seed),
    )
    write_demo(result, folder)
    console.result(result.to_json(), _text(result, folder))


def _metadata(folder: Path, method: str, seed: int) -> dict[str, dict[str, str]]:
    """Return the metadata of each file, equal to that of `align` and `merge`."""
    from onebasin.checkpoints import ArchitectureRecord
    from onebasin.cli.outputs import result_metadata

    record = ArchitectureRecord("mlp").to_metadata()
    sources = [folder / "a.safetensors", folder / "b.safetensors"]
    facts = {"method": method, "seed": seed}
    return {
        "a": record,
        "b": record,
        "aligned": result_metadata(record, "align", sources, **facts),
        "merged": result_metadata(record, "merge", sources, weights=[0.5, 0.5], **facts),
    }


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Store the seconds that a block takes."""
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def _align(
    architecture: Architecture,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    seed: int,
    seconds: dict[str, float],
    console: Console,
) -> Alignment:
    from onebasin.cli.alignment import match
    from onebasin.cli.methods import MethodChoice
    from onebasin.cli.symmetries import SymmetryChoice, find_symmetry

    with timed(seconds, "trace"):
        found = find_symmetry(architecture, SymmetryChoice(seed=seed), console)
    assert found.proof is not None and not found.proof.failed_groups
    seconds["prove"] = found.proof.seconds
    seconds["trace"] -= found.proof.seconds
    with timed(seconds, "match"):
        matcher = MethodChoice(seed=seed).prepare(call="demo")
        return match(found, (params_a, params_b), architecture, matcher, console)


def _curves(
    architecture: Architecture,
    params_a: Mapping[str, Tensor],
    networks: Mapping[str, Mapping[str, Tensor]],
    data: Dataset,
    console: Console,
) -> Curves:
    from onebasin.cli.measuring import DataChoice
    from onebasin.measuring.interpolation import interpolate_splits
    from onebasin.training.datasets.data import Data

    evaluators = DataChoice(data.name).evaluators(Data.from_dataset(data))
    curves = {}
    for state, params_b in networks.items():
        with console.progress(f"measuring {state}") as progress:
            curves[state] = interpolate_splits(
                architecture.module, params_a, params_b, evaluators, progress=progress
            )
    return curves


def _accuracy(
    architecture: Architecture, curves: Curves, merged: Mapping[str, Tensor], data: Dataset
) -> dict[str, float]:
    """Return test accuracies; the plain average is the middle of the naive curve."""
    from onebasin.forward.binding import BoundModel
    from onebasin.measuring.evaluation import evaluator

    errors = curves["naive"]["test"].errors
    evaluate = evaluator(data.test_inputs, data.test_labels)
    return {
        "a": 1.0 - errors[-1],
        "b": 1.0 - errors[0],
        "naive": 1.0 - errors[len(errors) // 2],
        "merged": evaluate(BoundModel(architecture.module, merged)).accuracy,
    }


def _symmetry(alignment: Alignment) -> dict[str, Any]:
    symmetry, proof = alignment.found.symmetry, alignment.found.proof
    assert proof is not None
    return {
        "groups": {name: group.size for name, group in symmetry.groups.items()},
        "log10_order": symmetry.log10_order,
        "moved_fraction": symmetry.moved_fraction,
        "max_error": proof.max_error,
    }


def _matching(alignment: Alignment) -> dict[str, Any]:
    return {
        "sweeps": alignment.matching.num_sweeps,
        "converged": alignment.matching.converged,
        "moved_units": alignment.num_moved,
    }


def _setting(seed: int) -> dict[str, Any]:
    import platform

    import torch

    from onebasin import __version__

    return {
        "seed": seed,
        "network": NETWORK,
        "data": "digits",
        "epochs": EPOCHS,
        "threads": torch.get_num_threads(),
        "versions": {
            "onebasin": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _text(result: DemoResult, folder: Path) -> str:
    from onebasin.report.comparison import barrier_rows
    from onebasin.report.demo import FILES, NETWORKS

    accuracies = [(text, f"{result.accuracy[name]:.2%}") for name, text in NETWORKS.items()]
    return "\n\n".join(
        [
            columns(barrier_rows(result.barriers())),
            columns([("test accuracy", ""), *accuracies]),
            f"wrote {folder / 'report.html'} and {len(FILES)} other files "
            f"({result.seconds['total']:.0f} s)",
        ]
    )
