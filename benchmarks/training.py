"""Compare `train` with a plain PyTorch loop over the networks, and write the page of the results.

Every case runs in a new process with a fixed number of threads. The plain loop is efficient: it
reorders all examples of the epoch at once, and batches are slices. The two alternate, run by run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from publishing import add_folder, machine, publish

NUM_NETWORKS = 20
BATCH_SIZE = 64
NUM_EXAMPLES = {16: 20_000, 64: 20_000, 256: 8_000, 1024: 2_000}
"""Examples of the one epoch that is timed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all requested cases, print them, and write the page."""
    options = _parser().parse_args(argv)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    context = multiprocessing.get_context("spawn")
    rows = []
    for threads in options.threads:
        for depth in options.depths:
            for width in options.widths:
                case = (width, depth, threads, options.runs, options.data_root)
                with context.Pool(1) as pool:
                    rows.append(pool.apply(measure, case))
                print(json.dumps(rows[-1]), flush=True)
    environment = _environment(options)
    document = {"environment": environment, "rows": rows}
    publish("training", page(rows, environment), document, options.out)
    return 0


def measure(width: int, depth: int, threads: int, runs: int, root: str | None) -> dict[str, Any]:
    """Return the measurements of one network size."""
    torch.set_num_threads(threads)
    from onebasin.data.datasets import load_dataset
    from onebasin.networks import MLP
    from onebasin_studies.training import train

    number = NUM_EXAMPLES.get(width, 2_000)
    data = load_dataset("mnist", root=root, max_train_examples=number)
    inputs = data.train_inputs.flatten(1)
    seeds = range(NUM_NETWORKS)
    engines = set()

    def build() -> MLP:
        return MLP(in_features=784, width=width, depth=depth)

    def together() -> list[float]:
        options: dict[str, Any] = {"epochs": 1, "batch_size": BATCH_SIZE, "stop_loss": None}
        networks = train(build(), data, seeds=seeds, **options)
        engines.update(network.engine for network in networks)
        return [network.losses[0] for network in networks]

    def plainly() -> list[float]:
        return [train_plainly(build, inputs, data.train_labels, seed) for seed in seeds]

    times: dict[str, list[float]] = {"plain": [], "onebasin": []}
    losses: dict[str, list[float]] = {"plain": [], "onebasin": []}
    for _ in range(runs):
        for name, run in (("plain", plainly), ("onebasin", together)):
            seconds, run_losses = timed(run)
            times[name].append(seconds)
            losses[name] = run_losses
    examples = number * NUM_NETWORKS
    ratios = [a / b for a, b in zip(times["plain"], times["onebasin"], strict=True)]
    return {
        "width": width,
        "depth": depth,
        "threads": threads,
        "engine": ", ".join(sorted(engines)),
        "examples": number,
        "seconds": times,
        "per_second": {name: examples / statistics.median(t) for name, t in times.items()},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "mean_loss": {name: statistics.mean(values) for name, values in losses.items()},
    }


def timed(run: Callable[[], list[float]]) -> tuple[float, list[float]]:
    """Return the duration of a run in seconds, and its result."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def train_plainly(
    build: Callable[[], torch.nn.Module], inputs: torch.Tensor, labels: torch.Tensor, seed: int
) -> float:
    """Train one network for an epoch with PyTorch alone, and return its mean loss."""
    torch.manual_seed(seed)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    order = torch.randperm(len(labels))
    inputs, labels = inputs[order], labels[order]
    total = torch.zeros(())
    batches = zip(inputs.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
    for batch, classes in batches:
        loss = F.cross_entropy(model(batch), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(classes)
    return float(total) / len(labels)


def page(rows: Sequence[dict[str, Any]], environment: dict[str, Any]) -> str:
    """Return the page of the documentation."""
    header = (
        "threads", "hidden layers", "width", "engine", "plain loop", "onebasin", "speedup",
        "mean loss",
    )  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|" + "--:|" * len(header)]
    for row in rows:
        cells = (
            row["threads"],
            row["depth"],
            row["width"],
            row["engine"],
            f"{row['per_second']['plain']:,.0f}",
            f"{row['per_second']['onebasin']:,.0f}",
            f"{row['ratio']:.1f} ({min(row['ratios']):.1f} to {max(row['ratios']):.1f})",
            f"{row['mean_loss']['plain']:.4f}, {row['mean_loss']['onebasin']:.4f}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    facts = "\n".join(f"- {name}: {value}" for name, value in environment.items())
    return f"""# Training many networks

Written by `python benchmarks/training.py`. Both programs train {NUM_NETWORKS} multilayer
perceptrons on MNIST (784 inputs, 10 classes) for one epoch, with Adam (learning rate 10⁻³) and
batches of {BATCH_SIZE}. *Plain loop* trains one network after the other in PyTorch. *onebasin* is
one call of `onebasin_studies.training.train`, which selects the engine. Both use the same number
of threads.

These two columns are examples per second over all networks, as medians over the runs. The speedup
is the median ratio over the runs, with the smallest and the largest ratio. The mean training
losses of the plain loop and of onebasin show that both learn equally well.

{chr(10).join(lines)}

{facts}
"""


def _environment(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "networks": NUM_NETWORKS,
        "batch size": BATCH_SIZE,
        "runs": options.runs,
        **machine("torch"),
        "load of the machine at the end": f"{os.getloadavg()[0]:.1f}",
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 64, 256, 1024])
    parser.add_argument("--depths", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--data-root", default=os.environ.get("ONEBASIN_DATA"))
    add_folder(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
