"""Time points between two networks evaluated together against one by one, and write what came out.

For MLPs of several sizes the points of a grid between two random networks are evaluated on random
data as one batched program and one after the other. Both ways take turns, so that what else the
machine does meets them alike; ratios are of medians.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from publishing import add_folder, machine, publish

from onebasin.evaluation._points import evaluate_points
from onebasin.evaluation.evaluator import evaluator
from onebasin.evaluation.together import LARGEST
from onebasin.networks import MLP

NUM_POINTS, NUM_CLASSES = 25, 10
SIZES = {"up to 2^14": (0, 2**14), "2^14 to 2^16": (2**14, 2**16), "above 2^16": (2**16, 2**62)}
"""By what is told of a range of sizes: above, and up to, how many entries."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every case, print it, and write the page."""
    options = _parser().parse_args(argv)
    # Each case in a process of its own, which reads this before it starts threads.
    os.environ.update(OMP_WAIT_POLICY="PASSIVE")
    context = multiprocessing.get_context("spawn")
    cases = itertools.product(options.threads, options.inputs, options.depths, options.widths)
    rows = []
    for threads, in_features, depth, width in cases:
        model = {"in_features": in_features, "depth": depth, "width": width}
        with context.Pool(1) as pool:
            rows.append(pool.apply(measure, (model, threads, options.examples, options.runs)))
        print(json.dumps(rows[-1]), flush=True)
    environment = _environment(options, rows)
    document = {"environment": environment, "rows": rows}
    publish("together", page(rows, environment), document, options.out)
    return 0


def measure(model: Mapping[str, int], threads: int, examples: int, runs: int) -> dict[str, Any]:
    """Return the row of one size: seconds of every run, medians, and their ratio."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    module, *ends = (MLP(num_classes=NUM_CLASSES, **model) for _ in range(3))
    params = [end.state_dict() for end in ends]
    inputs = torch.randn(examples, model["in_features"])
    evaluates = {"data": evaluator(inputs, torch.randint(NUM_CLASSES, (examples,)))}
    shares = [i / (NUM_POINTS - 1) for i in range(1, NUM_POINTS - 1)]
    points = [{0: share, 1: 1 - share} for share in shares]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    # The first turn is not counted: it allocates and starts threads.
    for turn in range(runs + 1):
        losses = {}
        for together, taken in seconds.items():
            began = time.perf_counter()
            found = evaluate_points(module, params, points, evaluates, together=together)
            if turn:
                taken.append(time.perf_counter() - began)
            losses[together] = torch.tensor([each["data"].loss for each in found])
        torch.testing.assert_close(losses[True], losses[False], rtol=1e-5, atol=1e-6)
    median = {way: statistics.median(taken) for way, taken in seconds.items()}
    return {
        **model,
        "entries": sum(parameter.numel() for parameter in module.parameters()),
        "threads": threads,
        "load": os.getloadavg()[0],
        "seconds together": median[True],
        "seconds one by one": median[False],
        "times faster": median[False] / median[True],
        "runs together": seconds[True],
        "runs one by one": seconds[False],
    }


def page(rows: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> str:
    """Return the page of the documentation."""
    lines = [
        "# Points evaluated together",
        "",
        f"Written by `python benchmarks/together.py`. The {NUM_POINTS - 2} points between two MLPs",
        "are evaluated as one batched program and one by one, in turns; *times faster* is the",
        f"ratio of the medians. Onebasin evaluates together up to {LARGEST} entries.",
        "",
        "| entries | threads | cases | lowest | median | highest times faster |",
        "|---|--:|--:|--:|--:|--:|",
        *_summary(rows),
        "",
        "| inputs | depth | width | entries | threads | together | one by one | times faster |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda row: (row["threads"], row["entries"])):
        cells = [row[name] for name in ("in_features", "depth", "width", "entries", "threads")]
        times = [row["seconds together"], row["seconds one by one"]]
        told = [*map(str, cells), *(f"{1000 * each:.1f} ms" for each in times)]
        lines.append(f"| {' | '.join(told)} | {row['times faster']:.2f} |")
    return "\n".join([*lines, "", *(f"- {key}: {text}" for key, text in environment.items()), ""])


def _summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for (name, (above, most)), threads in itertools.product(
        SIZES.items(), sorted({row["threads"] for row in rows})
    ):
        found = [
            row["times faster"]
            for row in rows
            if row["threads"] == threads and above < row["entries"] <= most
        ]
        if found:
            figures = (min(found), statistics.median(found), max(found))
            cells = [str(threads), str(len(found)), *(f"{figure:.2f}" for figure in figures)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _environment(options: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    loads = [row["load"] for row in rows]
    return {
        "examples": str(options.examples),
        "runs of each": str(options.runs),
        "load average of the machine": f"{min(loads):.1f} to {max(loads):.1f}",
        **machine("torch"),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, nargs="+", default=[64, 784])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 16, 32, 64, 128, 256])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=7)
    add_folder(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
