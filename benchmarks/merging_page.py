"""The page that compares ways to merge two networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

HEADS = (
    "method",
    "images",
    "pairs",
    "test loss",
    "test accuracy",
    "parameters",
    "seconds",
    "memory",
)


def page(rows: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> str:
    """Return the page of the documentation.

    Args:
        rows: one for each kind, pair, number of images and method.
        environment: versions and machine of the measurement.
    """
    lines = [
        "# Merging",
        "",
        "Written by `python benchmarks/merging.py`. For each kind of network, pairs are trained",
        "from different seeds. B is aligned to A with the matcher `combined`. All methods then",
        "merge the same two aligned networks with the same unlabeled training images.",
        "",
        "Loss and accuracy are means over the pairs, with the standard deviation if there are",
        "several. *memory* is the growth of the peak memory. *parameters* is a multiple of",
        "those of one network. *unaligned* and *aligned* are averages of the weights. *ensemble*",
        "averages the probabilities of A and B. *PLeaS* and *RegMean* are the published formulas,",
        "followed by a reset of BatchNorm statistics. *size 1.2* keeps units that match badly from",
        "both networks. In *mnist-split*, A is trained on the digits 0 to 4 and B on 5 to 9.",
    ]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        part = [row for row in rows if row["kind"] == kind]
        lines += ["", f"## {kind}", "", *_parents(part), "", *_table(part)]
    lines += ["", *(f"- {key}: {value}" for key, value in environment.items()), ""]
    return "\n".join(lines)


def _parents(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line with the test loss and accuracy of the networks."""
    first = {row["seed"]: row for row in rows}.values()
    parts = [
        f"{name} has a test loss of {_spread([row[f'loss of {name}'] for row in first], '.4f')} "
        f"and an accuracy of {_spread([row[f'accuracy of {name}'] for row in first], '.2%')}"
        for name in "AB"
    ]
    return [f"{'; '.join(parts)}."]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| " + " | ".join(HEADS) + " |", "|---|" + "--:|" * (len(HEADS) - 1)]
    for method, images in dict.fromkeys((row["method"], row["images"]) for row in rows):
        part = [row for row in rows if (row["method"], row["images"]) == (method, images)]
        seconds = [row["seconds"] for row in part if "seconds" in row]
        cells = [
            method,
            f"{images:,}" if images else "",
            str(len(part)),
            _spread([row["loss"] for row in part], ".4f"),
            _spread([row["accuracy"] for row in part], ".2%"),
            f"{mean(row['parameters'] for row in part):.2f}" if seconds else "2.00",
            f"{mean(seconds):.1f}" if seconds else "",
            f"{max(row['mebibytes'] for row in part):.0f} MiB" if seconds else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _spread(values: Sequence[float], form: str) -> str:
    """Return the mean of values, with the standard deviation if there are several."""
    if len(values) < 2:
        return format(values[0], form)
    return f"{mean(values):{form}} ± {stdev(values):{form}}"
