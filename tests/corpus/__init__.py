"""A generated corpus of damaged inputs: checkpoints, folders, symmetries, permutations, data.

Every case writes one damaged input from a fixed seed. `cases()` lists all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.corpus.checkpoints import broken_files, structures, tensors
from tests.corpus.data import data
from tests.corpus.folders import folders, special_files
from tests.corpus.symmetries import configurations, permutations, symmetries


@dataclass(frozen=True)
class Case:
    """One damaged input.

    Args:
        kind: what it is given as: checkpoint, symmetry, permutation, architecture or data.
        name: what is damaged.
        create: writes it into an empty folder and returns its path.
    """

    kind: str
    name: str
    create: Callable[[Path], Path]


def cases() -> list[Case]:
    """Every case of the corpus, always the same ones."""
    makers = (broken_files, tensors, structures, special_files, folders)
    named = [("checkpoint", name, create) for maker in makers for name, create in maker()]
    named += [("symmetry", *entry) for entry in symmetries()]
    named += [("permutation", *entry) for entry in permutations()]
    named += [("architecture", *entry) for entry in configurations()]
    named += [("data", *entry) for entry in data()]
    return [Case(*entry) for entry in named]


def commands_for(case: Case, given: Path, a: Path, out: Path) -> dict[str, list[str]]:
    """Return the commands that a damaged input is given to, without options of the network."""
    x, first, target = str(given), str(a), str(out)
    digits = ["--data", "digits", "--max-train-examples", "50"]
    if case.kind == "checkpoint":
        return {
            "align": ["align", "mlp", first, x, "-o", f"{target}.pt"],
            "align-as-reference": ["align", "mlp", x, first, "-o", f"{target}.safetensors"],
            "merge": ["merge", "mlp", first, x, "-o", f"{target}.safetensors"],
            "average": ["merge", "mlp", x, first, "-o", f"{target}.pt", "--no-align"],
            "barrier": ["barrier", "mlp", first, x, *digits, "--num-points", "3"],
            "without-arch": ["align", first, x, "-o", f"{target}.pt"],
            "compare-features": ["compare-features", "mlp", first, x, *digits, "-o", target],
            "plane": ["plane", "mlp", first, x, first, *digits, "--num-points", "3", "-o", target],
        }
    if case.kind == "symmetry":
        pair = [first, str(a.with_name("b.safetensors"))]
        return {
            "inspect": ["inspect", "mlp", "--symmetry", x],
            "align": ["align", "mlp", *pair, "-o", f"{target}.pt", "--symmetry", x],
            "unproved": [
                *["align", "mlp", *pair, "-o", f"{target}.pt"],
                *["--symmetry", x, "--no-verify"],
            ],
        }
    pair = [first, str(a.with_name("b.safetensors"))]
    if case.kind == "permutation":
        return {
            "compare-features": [
                "compare-features",
                "mlp",
                *pair,
                *digits,
                "-o",
                target,
                "--permutation",
                x,
            ],
        }
    if case.kind == "architecture":
        return {
            "inspect": ["inspect", f"hf:{x}"],
            "align": ["align", f"hf:{x}", *pair, "-o", target],
        }
    return {
        "barrier": ["barrier", "mlp", *pair, "--data", x, "--num-points", "3"],
        "merge": ["merge", "mlp", *pair, "--data", x, "-o", f"{target}.pt"],
    }
