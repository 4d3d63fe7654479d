"""The page that compares ways to align transformers, and the requirements that it checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import mean, stdev
from typing import Any, TypeAlias

from scipy.stats import t

Row: TypeAlias = Mapping[str, Any]
Pair: TypeAlias = Mapping[tuple[str, str], Row]
"""The rows of a pair by method and repair."""

PERMUTATIONS = ("weights", "combined", "straight-through")
"""The methods that permute units."""
TRANSFORMATIONS = ("rotations", "rotations with data", "learned", "learned at both ends")
"""The methods with maps that are not permutations."""
ALL_METHODS = ("naive", *PERMUTATIONS, *TRANSFORMATIONS)
CONTROL_NAMES = ("average, fine-tuned", "A, distilled from both")

HEADS = ("method", "pairs", "barrier", "loss", "accuracy", "seconds")
REFIT_HEADS = ("barrier, refit", "loss, refit", "accuracy, refit", "seconds, refit")


@dataclass(frozen=True)
class Requirement:
    """A bound on a figure of every pair of a kind.

    Args:
        kind: the kind of networks.
        text: the figure.
        form: format of the figure.
        limit: the bound.
        is_least: whether the bound is the smallest valid figure; otherwise it is the largest.
        figure: function of a pair that returns the figure, or raises KeyError.
    """

    kind: str
    text: str
    form: str
    limit: float
    is_least: bool
    figure: Callable[[Pair], float]

    def worst(self, pairs: Sequence[Pair]) -> float | None:
        """Return the worst figure of all pairs; None if one of them is not measured."""
        try:
            figures = [self.figure(pair) for pair in pairs]
        except KeyError:
            return None
        if not figures:
            return None
        return min(figures) if self.is_least else max(figures)

    def is_met(self, worst: float) -> bool:
        """Return whether the worst figure is within the bound."""
        return worst >= self.limit if self.is_least else worst <= self.limit


def page(rows: Sequence[Row], environment: Mapping[str, str]) -> str:
    """Return the page of the documentation.

    Args:
        rows: one for each kind, pair, method and repair.
        environment: versions and machine of the measurement.
    """
    lines = [
        "# Transformers",
        "",
        "Written by `python benchmarks/rotations.py`. For each kind of network, pairs are",
        "trained from different seeds, and B is aligned to A. Losses and accuracies are those of",
        "the average of both on test data. The barrier is the maximum of the test loss over the",
        "line between both, above the straight line between the losses of A and B.",
        "",
        "Figures are means over the pairs, with a 95 % interval (Student's t) if there are",
        "several. Seconds are those of the alignment; after a refit, those of one refit are added.",
        "*straight-through* starts from *combined*. The barrier after a refit is measured at fewer",
        "points, each with its own refit. The last two rows are controls: the average without",
        "alignment is trained on labels, and A is trained to reproduce the mean outputs of A and",
        "B. Both take as many steps on the same examples as *straight-through* and the learned",
        "methods.",
        "",
        *_requirements(rows),
    ]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        part = [row for row in rows if row["kind"] == kind]
        lines += ["", f"## {kind}", "", *_parents(part), "", *_table(part)]
    lines += ["", *(f"- {key}: {value}" for key, value in environment.items()), ""]
    return "\n".join(lines)


def requirements() -> list[Requirement]:
    """Return what the methods with other maps than permutations must reach."""
    found = [
        Requirement(
            "mnist-vit",
            "barrier of *rotations* as a part of that of *weights*",
            ".2f",
            0.5,
            False,
            lambda pair: _ratio(_barrier(pair, "rotations"), _barrier(pair, "weights")),
        ),
        Requirement(
            "mnist-vit",
            "barrier of *learned*",
            ".3f",
            0.05,
            False,
            lambda pair: _barrier(pair, "learned"),
        ),
        Requirement(
            "mnist-vit",
            "seconds of *learned*",
            ".0f",
            60,
            False,
            lambda pair: pair["learned", "none"]["seconds"],
        ),
    ]
    for kind in ("mnist-vit", "cifar-vit", "char-layernorm", "char-rotary", "sst2"):
        factor = 5 if kind == "mnist-vit" else 3
        text = "lowest barrier of the permutations as a multiple of that of *learned*"
        found.append(Requirement(kind, text, ".1f", factor, True, _improvement))
    for kind in ("mnist-vit", "cifar-vit"):
        text = "accuracy of *learned* and refit below that of the worse parent"
        found.append(Requirement(kind, text, ".2%", 0.01, False, _lost_accuracy))
    for kind in ("char-layernorm", "char-rotary"):
        text = "loss of *learned* and refit above that of the worse parent"
        found.append(Requirement(kind, text, ".2%", 0.03, False, _added_loss))
    return found


def _barrier(pair: Pair, method: str) -> float:
    return pair[method, "none"]["barrier"]


def _ratio(value: float, other: float) -> float:
    return value / other if other else inf


def _improvement(pair: Pair) -> float:
    lowest = min(_barrier(pair, method) for method in PERMUTATIONS)
    return _ratio(lowest, _barrier(pair, "learned"))


def _lost_accuracy(pair: Pair) -> float:
    row = pair["learned", "refit"]
    return min(row["accuracy of A"], row["accuracy of B"]) - row["accuracy"]


def _added_loss(pair: Pair) -> float:
    row = pair["learned", "refit"]
    return row["loss"] / max(row["loss of A"], row["loss of B"]) - 1


def _requirements(rows: Sequence[Row]) -> list[str]:
    """Return the table of the requirements, each with the worst figure of all pairs."""
    lines = [
        "| kind | figure | required | worst pair | pairs | met |",
        "|---|---|--:|--:|--:|---|",
    ]
    kinds = {row["kind"] for row in rows}
    for each in requirements():
        if each.kind not in kinds:
            continue
        pairs = _pairs(rows, each.kind)
        worst = each.worst(pairs)
        bound = f"{'at least' if each.is_least else 'at most'} {each.limit:{each.form}}"
        cells = (
            each.kind,
            each.text,
            bound,
            "not measured" if worst is None else f"{worst:{each.form}}",
            str(len(pairs)),
            "" if worst is None else ("yes" if each.is_met(worst) else "**no**"),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _pairs(rows: Sequence[Row], kind: str) -> list[Pair]:
    """Return the rows of each pair of a kind."""
    pairs: dict[int, dict[tuple[str, str], Row]] = {}
    for row in rows:
        if row["kind"] == kind:
            pairs.setdefault(row["seed"], {})[row["method"], row["repair"]] = row
    return list(pairs.values())


def _parents(rows: Sequence[Row]) -> list[str]:
    """Return a line with the test loss and accuracy of the networks."""
    first = {row["seed"]: row for row in rows}.values()
    loss, accuracy = (
        interval([row[f"{figure} of {name}"] for row in first for name in "AB"], form)
        for figure, form in (("loss", ".3f"), ("accuracy", ".2%"))
    )
    return [f"The networks have a test loss of {loss} and an accuracy of {accuracy}."]


def _table(rows: Sequence[Row]) -> list[str]:
    heads = HEADS + REFIT_HEADS
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = [method]
        for repair in ("none", "refit"):
            part = [r for r in rows if (r["method"], r["repair"]) == (method, repair)]
            cells += [str(len(part))] if repair == "none" else []
            cells += [_cell(part, figure, form) for figure, form in FIGURES]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


FIGURES = (("barrier", ".3f"), ("loss", ".3f"), ("accuracy", ".2%"), ("seconds", ".1f"))


def _cell(rows: Sequence[Row], figure: str, form: str) -> str:
    values = [row[figure] for row in rows if figure in row]
    return interval(values, form) if values else ""


def interval(values: Sequence[float], form: str) -> str:
    """Return the mean of values, with the half width of its 95 % interval if there are several.

    Args:
        values: independent values.
        form: format of a number.
    """
    if len(values) < 2:
        return format(values[0], form)
    half = t.ppf(0.975, len(values) - 1) * stdev(values) / sqrt(len(values))
    return f"{mean(values):{form}} ± {half:{form}}"
