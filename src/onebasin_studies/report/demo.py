"""The demonstration: two networks trained on different data, and merged into one."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
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
from onebasin.evaluation.curves import (
    Barriers,
    barrier_rows,
    barriers_of,
    curve_figure,
    lines_of,
    save_figure,
    svg_source,
)
from onebasin.evaluation.evaluator import Evaluation
from onebasin_studies.report.pages import command_lines, numbers, page, panels, table
from onebasin_studies.training.train import train

EPOCHS = 20
FRACTION = 0.9
"""Fraction of the training images of the digits 0 to 4 that network A sees; B sees the rest."""
DATA = "digits"
METHOD = "combined"

CURVE_ALT = {
    "loss": "Loss along the line from network B to network A. Without alignment it rises to a high "
    "barrier halfway; after alignment it is lower halfway than at both ends.",
    "error": "Error along the line from network B to network A. Without alignment it rises "
    "halfway; after alignment it falls halfway.",
}
CAPTION = (
    "Every point is a network: a weighted average of A and B, from B on the left to A on the "
    'right. <span class="naive">Naive</span> averages the weights as they were trained, '
    '<span class="aligned">aligned</span> averages them after the hidden units of B were '
    "reordered to match those of A. Solid lines are training images, dashed lines are test images."
)
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
    template = (
        resources.files("onebasin_studies.report").joinpath("demo.html").read_text(encoding="utf-8")
    )
    header, *rows = result.barrier_rows()
    caption = "Barrier: the largest excess of a curve over the line between its ends."
    pieces = {
        "numbers": _numbers(result),
        "figure": _figure(result),
        "barriers": table(header, rows, caption=caption),
        "evaluations": _evaluation_table(result),
        "files": table(("file", "content"), FILES.items(), is_text=True),
        "commands": command_lines(COMMANDS),
    }
    return page(
        "Two networks, one basin", [Template(template).substitute(_words(result), **pieces)]
    )


def _words(result: DemoResult) -> dict[str, str]:
    """Return the words of the sentences of the page."""
    merged, barriers = result.merged, result.barriers
    symmetry, matching = merged.symmetry, merged.matching
    assert symmetry is not None and merged.verification is not None and matching is not None
    errors = {name: f"{found.error:.1%}" for name, found in result.evaluations.items()}
    words = {
        "error_a": errors["A"],
        "error_b": errors["B"],
        "error_naive": errors[UNALIGNED],
        "error_merged": errors[MERGED],
        "naive_barrier": f"{barriers['naive']['test']['loss']:.3f}",
        "aligned_barrier": f"{barriers['aligned']['test']['loss']:.4f}",
        "num_groups": len(symmetry.groups),
        "num_units": sum(group.size for group in symmetry.groups.values()),
        "log10_order": f"{symmetry.log10_order:.0f}",
        "max_error": f"{merged.verification.max_error:.0e}",
        "repair": merged.repair,
        "fraction": f"{FRACTION:.0%}",
        "rest": f"{1 - FRACTION:.0%}",
        "seed": result.seed,
        "versions": ", ".join(f"{name} {version}" for name, version in _versions().items()),
    }
    words |= {f"{name}_seconds": _seconds(value) for name, value in result.seconds.items()}
    return {name: escape(str(word)) for name, word in words.items()}


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _numbers(result: DemoResult) -> str:
    shown = ((UNALIGNED, "naive"), (MERGED, "aligned"))
    better = min(result.evaluations["A"].error, result.evaluations["B"].error)
    return numbers(
        [
            (f"{better:.1%}", "test error, better parent", ""),
            *(
                (f"{result.evaluations[name].error:.1%}", f"test error, {ROWS[name]}", kind)
                for name, kind in shown
            ),
        ]
    )


def _figure(result: DemoResult) -> str:
    lines = lines_of(result.barrier.curves)
    images = [
        (svg_source(curve_figure(lines, [quantity])), CURVE_ALT[quantity])
        for quantity in ("loss", "error")
    ]
    return panels(images, CAPTION)


def _evaluation_table(result: DemoResult) -> str:
    rows = [
        (text, f"{result.evaluations[name].loss:.4f}", f"{result.evaluations[name].error:.2%}")
        for name, text in ROWS.items()
    ]
    return table(("on test images", "loss", "error"), rows)


def _versions() -> dict[str, str]:
    return {
        "onebasin": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
