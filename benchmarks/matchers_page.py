"""The page on which matchers are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("train loss barrier", "train error barrier", "test loss barrier", "test error barrier")


def page(rows: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> str:
    """Return the page of the documentation.

    Args:
        rows: one for each pair, matcher and repair.
        environment: what it was measured on.
    """
    lines = [
        "# Matchers",
        "",
        "Written by `python benchmarks/matchers.py`. Two networks of each kind are trained apart;",
        "B is matched to A, and the line between them is measured at its ends and halfway. Bold is",
        "the lowest loss halfway on the test set. Memory is what matching added to the peak.",
        "(batch): the matcher saw the loss with the statistics of each batch, which is what a",
        "network is once its statistics are reset.",
    ]
    for pair in dict.fromkeys(row["pair"] for row in rows):
        part = [row for row in rows if row["pair"] == pair]
        lines += ["", f"## {pair}", "", *_ends(part), *_table(part)]
    lines += ["", "## Which wins", "", *_winners(rows)]
    lines += ["", *(f"- {key}: {value}" for key, value in environment.items()), ""]
    return "\n".join(lines)


def _ends(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line about the two networks as they were trained."""
    row = next((row for row in rows if "test loss of A" in row), None)
    if row is None:
        return []
    told = (
        f"{end} has a test loss of {row[f'test loss of {end}']:.4f} and an accuracy of "
        f"{row[f'test accuracy of {end}']:.2%}"
        for end in "AB"
    )
    return [f"{'; '.join(told)}.", ""]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = ("matcher", "repair", *COLUMNS, "test loss", "test accuracy", "seconds", "memory")
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "--:|" * (len(heads) - 2)]
    measured = [row for row in rows if "test loss" in row]
    best = min((row["test loss"] for row in measured), default=None)
    for row in rows:
        if "reason" in row:
            lines.append(f"| {row['matcher']} | {row['reason']} |" + " |" * (len(heads) - 2))
            continue
        loss = f"{row['test loss']:.4f}"
        cells = [
            row["matcher"] + (" (batch)" if row.get("uses_batches") else ""),
            row["repair"],
            *(f"{row[column]:.4f}" for column in COLUMNS),
            f"**{loss}**" if row["test loss"] == best else loss,
            f"{row['test accuracy']:.2%}",
            f"{row['seconds']:.1f}",
            f"{row['mebibytes']:.0f} MiB",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _winners(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return, for each matcher and repair, its mean test loss halfway relative to the best."""
    pairs = list(dict.fromkeys(row["pair"] for row in rows))
    measured = [row for row in rows if "test loss" in row]
    best = {p: min(row["test loss"] for row in measured if row["pair"] == p) for p in pairs}
    suited = {p: _suited([row for row in measured if row["pair"] == p]) for p in pairs}
    ratios: dict[tuple[str, str], list[float]] = {}
    for row in measured:
        ratio = row["test loss"] / best[row["pair"]]
        ratios.setdefault((row["matcher"], row["repair"]), []).append(ratio)
        if row["repair"] == suited[row["pair"]]:
            ratios.setdefault((row["matcher"], "reset, else repair"), []).append(ratio)
    whole = {key: values for key, values in ratios.items() if len(values) == len(pairs)}
    ordered = sorted(whole, key=lambda key: sum(whole[key]) / len(pairs))
    lines = [
        "Test loss halfway, divided by the best of its pair, on average over the pairs. *reset,",
        "else repair* is what `onebasin merge --data` does: running statistics are reset where",
        "there are some, and other networks are repaired. It matches by *combined*, which needs no",
        "labels and one pass over the data; the search by the loss that can follow costs many, and",
        "is had by `--method straight-through --init combined`.",
        "",
        "| matcher | repair | times the best |",
        "|---|---|--:|",
    ]
    lines += [f"| {m} | {r} | {sum(whole[m, r]) / len(pairs):.3f} |" for m, r in ordered[:10]]
    return lines


def _suited(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what `merge` repairs networks of a pair by: only those with BatchNorm have resets."""
    return "reset" if any(row["repair"] == "reset" for row in rows) else "repair"
