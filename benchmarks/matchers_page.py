"""The page that compares matchers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("train loss barrier", "train error barrier", "test loss barrier", "test error barrier")


def page(rows: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> str:
    """Return the page of the documentation.

    Args:
        rows: one for each pair, matcher and repair.
        environment: versions and machine of the measurement.
    """
    lines = [
        "# Matchers",
        "",
        "Written by `python benchmarks/matchers.py`. For each kind of network, A and B are trained",
        "from different seeds. Each matcher aligns B to A. The column *repair* names the repair of",
        "the midpoint. Loss and error are then measured at A, the aligned B and the midpoint;",
        "the barriers use these three points.",
        "",
        "*Test loss* and *test accuracy* are those of the midpoint; the lowest test loss of a",
        "table is bold. *Memory* is the growth of the peak memory during matching. The row",
        "*correlation* is the matcher `activations` with `statistic=correlation`. Matchers with",
        "*(batch)* minimize the loss with the BatchNorm statistics of each batch, which are close",
        "to the statistics after a reset.",
    ]
    for pair in dict.fromkeys(row["pair"] for row in rows):
        part = [row for row in rows if row["pair"] == pair]
        lines += ["", f"## {pair}", "", *_endpoints(part), *_table(part)]
    lines += ["", "## Ranking", "", *_ranking(rows)]
    lines += ["", *(f"- {key}: {value}" for key, value in environment.items()), ""]
    return "\n".join(lines)


def _endpoints(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line with the test loss and accuracy of A and B."""
    row = next((row for row in rows if "test loss of A" in row), None)
    if row is None:
        return []
    sentences = (
        f"{end} has a test loss of {row[f'test loss of {end}']:.4f} and an accuracy of "
        f"{row[f'test accuracy of {end}']:.2%}"
        for end in "AB"
    )
    return [f"{'; '.join(sentences)}.", ""]


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


def _ranking(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ten matchers and repairs with the lowest mean test loss, relative to the best."""
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
        "The test loss of the midpoint, divided by the lowest test loss of the same kind of",
        "network. The table shows the ten lowest means over all kinds. *reset, else repair* resets",
        "networks with running statistics, and repairs others. The default of `onebasin merge",
        "--data` also tries a refit, which this benchmark does not measure.",
        "",
        "The default matcher is `combined`, which needs no labels and reads the data once. A",
        "search that minimizes the loss can follow it: `--method straight-through --init",
        "combined`. Such a search needs labels and many passes over the data.",
        "",
        "| matcher | repair | relative test loss |",
        "|---|---|--:|",
    ]
    lines += [f"| {m} | {r} | {sum(whole[m, r]) / len(pairs):.3f} |" for m, r in ordered[:10]]
    return lines


def _suited(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return "reset" for networks with BatchNorm, which alone have rows of it, else "repair"."""
    return "reset" if any(row["repair"] == "reset" for row in rows) else "repair"
