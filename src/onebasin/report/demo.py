"""The report of the demonstration: its numbers, its picture and its page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from onebasin._atomic import atomic_path
from onebasin.report.comparison import Barriers, Curves, barrier_rows, barriers_of, lines_of
from onebasin.report.figures import curve_figure, save_figure, svg_source
from onebasin.report.pages import command_lines, numbers, page, panels, table

CURVE_ALT = {
    "loss": "Loss along the line from network B to network A. As trained it rises to a high "
    "barrier halfway; after alignment it stays flat.",
    "error": "Share of wrong answers along the line from network B to network A. As trained it "
    "rises halfway; after alignment it stays near that of the two networks.",
}
CAPTION = (
    "Every point is a network: a weighted average of A and B, from all B on the left to all A "
    'on the right. <span class="naive">Naive</span> averages the weights as they were trained, '
    '<span class="aligned">aligned</span> after the hidden units of B were put where A has '
    "theirs. Solid lines are training images, dashed lines are images that neither saw."
)
NETWORKS = {
    "a": "network A",
    "b": "network B",
    "naive": "plain average of A and B",
    "merged": "average of A and aligned B",
}
FILES = {
    "a.safetensors": "network A",
    "b.safetensors": "network B as trained",
    "aligned.safetensors": "B with its units where A has them",
    "merged.safetensors": "the average of A and the aligned B",
    "result.json": "every number on this page",
    "curve.png": "the picture",
}
COMMANDS = (
    "onebasin inspect mlp",
    "onebasin align mlp a.safetensors b.safetensors -o aligned.safetensors",
    "onebasin merge mlp a.safetensors b.safetensors -o merged.safetensors",
    "onebasin barrier mlp a.safetensors b.safetensors --data digits",
)


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found.

    Args:
        curves: by "naive" and "aligned", then by "train" and "test".
        accuracy: test accuracy of "a", "b", of their "naive" mean and of the "merged" network.
        symmetry: what was found and proved: "groups" (sizes by name), "log10_order",
            "moved_fraction" and "max_error" of the proof.
        matching: how the search went: "sweeps", "converged", "moved_units".
        seconds: how long each part took, by name.
        setting: what to know to repeat it: "seed", "network", "data", "versions", ...
    """

    curves: Curves
    accuracy: Mapping[str, float]
    symmetry: Mapping[str, Any]
    matching: Mapping[str, Any]
    seconds: Mapping[str, float]
    setting: Mapping[str, Any]

    def barriers(self) -> Barriers:
        """Return the barriers by "naive" or "aligned", "train" or "test", "loss" or "error"."""
        return barriers_of(self.curves)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        curves = {
            state: {split: curve.to_json() for split, curve in splits.items()}
            for state, splits in self.curves.items()
        }
        return {
            "barrier": self.barriers(),
            "accuracy": dict(self.accuracy),
            "symmetry": dict(self.symmetry),
            "matching": dict(self.matching),
            "seconds": dict(self.seconds),
            **self.setting,
            "curves": curves,
        }


def write_demo(result: DemoResult, folder: Path) -> None:
    """Write `result.json`, `curve.png` and `report.html` into a folder.

    Raises:
        OneBasinError: when a file cannot be written.
    """
    save_figure(curve_figure(lines_of(result.curves)), folder / "curve.png")
    for name, text in (
        ("result.json", json.dumps(result.to_json(), indent=1) + "\n"),
        ("report.html", demo_page(result)),
    ):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def demo_page(result: DemoResult) -> str:
    """Return the page of the demonstration; it needs no other file."""
    template = resources.files("onebasin.report").joinpath("demo.html").read_text(encoding="utf-8")
    pieces = {
        "numbers": _numbers(result),
        "figure": _figure(result),
        "barriers": _barrier_table(result),
        "accuracies": _accuracy_table(result),
        "files": table(("file", "what it is"), FILES.items(), is_text=True),
        "commands": command_lines(COMMANDS),
    }
    return page(
        "Two networks, one basin", [Template(template).substitute(_words(result), **pieces)]
    )


def _words(result: DemoResult) -> dict[str, str]:
    """Return what stands in the sentences of the page."""
    naive, aligned = _train_barriers(result)
    symmetry, matching, setting = result.symmetry, result.matching, result.setting
    words = {
        "naive_barrier": f"{naive:.3f}",
        "aligned_barrier": f"{aligned:.4f}",
        "share_left": f"{aligned / naive:.1%}" if naive else "none",
        "num_groups": len(symmetry["groups"]),
        "num_units": sum(symmetry["groups"].values()),
        "log10_order": f"{symmetry['log10_order']:.0f}",
        "max_error": f"{symmetry['max_error']:.0e}",
        "ending": "settled" if matching["converged"] else "was stopped",
        "sweeps": matching["sweeps"],
        "moved_units": matching["moved_units"],
        "network": setting["network"],
        "seed": setting["seed"],
        "versions": ", ".join(f"{name} {version}" for name, version in setting["versions"].items()),
    }
    words |= {f"{name}_seconds": _seconds(value) for name, value in result.seconds.items()}
    return {name: escape(str(word)) for name, word in words.items()}


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _train_barriers(result: DemoResult) -> tuple[float, float]:
    barriers = result.barriers()
    return barriers["naive"]["train"]["loss"], barriers["aligned"]["train"]["loss"]


def _numbers(result: DemoResult) -> str:
    naive, aligned = _train_barriers(result)
    return numbers(
        [
            (f"{naive:.3f}", "train-loss barrier as trained", "naive"),
            (f"{aligned:.4f}", "the same after alignment", "aligned"),
            (f"{result.accuracy['naive']:.1%}", "test accuracy, plain average", "naive"),
            (f"{result.accuracy['merged']:.1%}", "test accuracy, aligned average", "aligned"),
        ]
    )


def _figure(result: DemoResult) -> str:
    images = [
        (svg_source(curve_figure(lines_of(result.curves), [quantity])), CURVE_ALT[quantity])
        for quantity in ("loss", "error")
    ]
    return panels(images, CAPTION)


def _barrier_table(result: DemoResult) -> str:
    header, *rows = barrier_rows(result.barriers())
    caption = "Barrier: the most by which a curve lies above the straight line between its ends."
    return table(header, rows, caption=caption)


def _accuracy_table(result: DemoResult) -> str:
    rows = [(text, f"{result.accuracy[name]:.2%}") for name, text in NETWORKS.items()]
    return table(("", "accuracy"), rows)
