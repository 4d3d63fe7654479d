"""The demonstration: two networks trained on different data, and merged into one."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onebasin import __version__, api
from onebasin._files import atomic_path
from onebasin.api._networks import MERGED, UNALIGNED, ensemble_name
from onebasin.api._outputs import check_files_in, make_folder
from onebasin.api._reporter import Reporter
from onebasin.api.reports import EvaluationReport
from onebasin.checkpoints import ArchitectureRecord, build_architecture, write_checkpoint
from onebasin.data.datasets import load_digits
from onebasin.evaluation.curve_figures import curve_figure, plotted_curves
from onebasin.evaluation.curves import Barriers, barrier_rows, barriers_of
from onebasin.evaluation.evaluator import Evaluation
from onebasin.evaluation.plotting import save_figure, svg_source
from onebasin_studies.report.pages import render
from onebasin_studies.training.train import train

EPOCHS = 20
FRACTION = 0.9
"""Fraction of the training images of the digits 0 to 4 that network A sees; B sees the rest."""
DATA = "digits"
METHOD = "combined"

ENSEMBLE = ensemble_name(["A", "B"])
ROWS = {
    "A": "network A",
    "B": "network B",
    UNALIGNED: "average without alignment",
    MERGED: "merged network",
    ENSEMBLE: "ensemble of A and B (twice the cost)",
}
FILES = {
    "a.safetensors": "network A",
    "b.safetensors": "network B",
    "aligned.safetensors": "network B aligned to A",
    "merged.safetensors": "the merged network",
    "result.json": "all numbers of this page",
    "curve.png": "the picture",
}
COMMANDS = (
    "onebasin inspect mlp",
    f"onebasin align a.safetensors b.safetensors --data {DATA} -o aligned.safetensors",
    f"onebasin merge a.safetensors b.safetensors --data {DATA} -o merged.safetensors",
    f"onebasin barrier a.safetensors b.safetensors --data {DATA} --method {METHOD}",
)


@dataclass(frozen=True)
class DemoResult:
    """The results of the demonstration.

    Args:
        barrier: the barriers before and after alignment.
        merged: the merged network and the evaluations.
        seconds: duration of each step by name.
        seed: random seed.
    """

    barrier: api.Barrier
    merged: api.Merged
    seconds: Mapping[str, float]
    seed: int

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """The evaluations of all networks on the test split, by name."""
        assert isinstance(self.merged.evaluation, EvaluationReport)
        return self.merged.evaluation.splits[-1].networks

    @property
    def barriers(self) -> Barriers:
        """The barriers by "naive" or "aligned", "train" or "test", "loss" or "error"."""
        return barriers_of(self.barrier.curves)

    def barrier_rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the table of barriers."""
        return barrier_rows(self.barriers)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "merged": self.merged.to_json() | {"output": None},
            "barrier": self.barrier.to_json(),
            "seconds": dict(self.seconds),
            "seed": self.seed,
            "data": DATA,
            "epochs": EPOCHS,
            "threads": torch.get_num_threads(),
            "versions": _versions(),
        }


def run_demo(folder: Path, *, seed: int = 0, progress: bool = False) -> DemoResult:
    """Train two networks, merge them, measure barriers, and write everything to a folder.

    Args:
        folder: the output folder; files of an earlier run are replaced.
        seed: random seed of the split of the data and, with the next one, of the two networks.
        progress: whether to show progress bars.

    Raises:
        OneBasinError: the folder cannot be created, or a file cannot be written.
    """
    check_files_in(folder, [*FILES, "report.html"])
    make_folder(folder, "--out")
    paths = {name.partition(".")[0]: folder / name for name in FILES}
    a, b = paths["a"], paths["b"]
    options: dict[str, Any] = {"seed": seed, "progress": progress}
    seconds: dict[str, float] = {}
    with timed(seconds, "total"):
        with timed(seconds, "train"):
            metadata = ArchitectureRecord("mlp", data=DATA).to_metadata()
            for path, params in zip((a, b), trained_networks(**options), strict=True):
                write_checkpoint(path, params, metadata=metadata)
        with timed(seconds, "align"):
            evaluated = {"evaluate": False, "output": paths["aligned"]}
            api.align("mlp", a, b, data=DATA, **evaluated, **options)
        with timed(seconds, "merge"):
            merged = api.merge("mlp", [a, b], data=DATA, output=paths["merged"], **options)
        with timed(seconds, "measure"):
            barrier = api.barrier("mlp", a, b, DATA, align=True, method=METHOD, **options)
    result = DemoResult(barrier, merged, seconds, seed)
    write_demo(result, folder)
    return result


def trained_networks(seed: int, progress: bool = False) -> list[Mapping[str, Tensor]]:
    """Return A and B, trained on different parts of the digits.

    Args:
        seed: random seed of the split and of A; B has the next one.
        progress: whether to show progress bars.
    """
    data, module = load_digits(), build_architecture("mlp", seed=seed).module
    labels = data.train_labels
    chance = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed))
    is_of_a = (chance < FRACTION) == (labels < 5)
    networks = []
    for name, number, rows in (("A", seed, is_of_a), ("B", seed + 1, ~is_of_a)):
        part = data.replace(train_inputs=data.train_inputs[rows], train_labels=labels[rows])
        with Reporter(progress).progress(f"training {name}") as show:
            (network,) = train(
                module, part, seeds=[number], epochs=EPOCHS, stop_loss=None, progress=show
            )
        # In the order in which files are read, so that commands write the same bytes.
        networks.append(dict(sorted(network.params.items())))
    return networks


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Store the seconds that a block takes."""
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def write_demo(result: DemoResult, folder: Path) -> None:
    """Write `result.json`, `curve.png` and `report.html` to a folder.

    Raises:
        OneBasinError: a file cannot be written.
    """
    save_figure(result.barrier.figure(), folder / "curve.png")
    for name, text in (
        ("result.json", json.dumps(result.to_json(), indent=1) + "\n"),
        ("report.html", demo_page(result)),
    ):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def demo_page(result: DemoResult) -> str:
    """Return the page of the demonstration, in one file."""
    merged, evaluations = result.merged, result.evaluations
    symmetry, verification = merged.symmetry, merged.verification
    assert symmetry is not None and verification is not None
    errors = {name: evaluation.error for name, evaluation in evaluations.items()}
    return render(
        "demo",
        fraction=f"{FRACTION:.0%}",
        rest=f"{1 - FRACTION:.0%}",
        error_a=f"{errors['A']:.1%}",
        error_b=f"{errors['B']:.1%}",
        error_parent=f"{min(errors['A'], errors['B']):.1%}",
        error_naive=f"{errors[UNALIGNED]:.1%}",
        error_merged=f"{errors[MERGED]:.1%}",
        evaluations=[
            (text, f"{evaluations[name].loss:.4f}", f"{evaluations[name].error:.2%}")
            for name, text in ROWS.items()
        ],
        figures=_figures(result),
        barriers=result.barrier_rows(),
        num_groups=len(symmetry.groups),
        num_units=sum(group.size for group in symmetry.groups.values()),
        log10_order=f"{symmetry.log10_order:.0f}",
        max_error=f"{verification.max_error:.0e}",
        repair=merged.repair,
        seconds={name: _seconds(value) for name, value in result.seconds.items()},
        files=FILES,
        commands=COMMANDS,
        seed=result.seed,
        versions=", ".join(f"{name} {version}" for name, version in _versions().items()),
    )


def _figures(result: DemoResult) -> dict[str, str]:
    """Return the curves of the loss and of the error as image sources."""
    lines = plotted_curves(result.barrier.curves)
    return {quantity: svg_source(curve_figure(lines, [quantity])) for quantity in ("loss", "error")}


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _versions() -> dict[str, str]:
    return {
        "onebasin": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
