"""Barriers and layer-wise features of two MLPs on MNIST, before and after alignment.

Two networks 784-512-512-512-10 are trained from different seeds for 10 epochs with Adam. The
second network is aligned to the first by weight matching. The pair is measured before and after:
barriers on training and test data, and features at every layer over all test images. Pixels are
in [0, 1]. The environment variable ONEBASIN_DATA names the folder of the data.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from publishing import add_folder, machine, publish
from torch import Tensor, nn

import onebasin
from onebasin.data.dataset import Dataset
from onebasin.data.datasets import load_dataset
from onebasin.evaluation.features import (
    FeatureTable,
    measure_additivity,
    measure_commutativity,
    measure_llfc,
)
from onebasin.graph.batches import Batches

WIDTH, EPOCHS, BATCH_SIZE, LEARNING_RATE = 512, 10, 500, 1e-3
PIXELS = (0.0,), (1.0,)
"""Mean and std that leave pixels in [0, 1]."""
HALF = 0.5
LIMITS = {
    "naive training barrier above": 0.5,
    "aligned training barrier below": 0.01,
    "aligned test barrier below": 0.01,
    "aligned 1 − cos at most": 0.03,
    "aligned 1 − cos, divided by that of the endpoints, at most": 0.2,
    "naive 1 − cos divided by aligned 1 − cos, after the first layer, at least": 3.0,
}
"""The criteria, for the figures of the page."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train, align, measure, print and write the page; return 1 if a criterion fails."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1")
    data = load_data(options.data_root)
    began = time.perf_counter()
    params = [train(data, seed) for seed in options.seeds]
    seconds = {"training": time.perf_counter() - began}
    began = time.perf_counter()
    found = measure(data, *params)
    seconds["aligning and measuring"] = time.perf_counter() - began
    environment = _environment(options, seconds)
    failures = failed(found)
    document = {"environment": environment, "failed": failures, **found}
    publish("mnist", page(found, failures, environment), document, options.out)
    return 1 if failures else 0


def load_data(root: Path | None) -> Dataset:
    """Return MNIST, flat, with pixels in [0, 1]."""
    return load_dataset("mnist", root=root, layout="flat", normalization=PIXELS)


def network() -> nn.Module:
    """Return the MLP."""
    hidden = [nn.Linear(784, WIDTH), *(nn.Linear(WIDTH, WIDTH) for _ in range(2))]
    layers = [module for linear in hidden for module in (linear, nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def train(data: Dataset, seed: int) -> dict[str, Tensor]:
    """Train one network; the seed determines its weights and the order of the examples."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network()
        inputs, labels = data.train_inputs, data.train_labels
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(inputs)).split(BATCH_SIZE):
                loss = F.cross_entropy(model(inputs[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def measure(
    data: Dataset, a: Mapping[str, Tensor], b: Mapping[str, Tensor], num_points: int = 25
) -> dict[str, Any]:
    """Return the figures of a pair as trained, and aligned by weight matching."""
    model = network()
    symmetry = onebasin.infer_symmetry(model, torch.zeros(2, 784))
    aligned = onebasin.matching.match_weights(symmetry, a, b, seed=0).permutation.apply(b)
    return {
        "naive": measure_pair(model, data, a, b, num_points),
        "aligned": measure_pair(model, data, a, aligned, num_points),
    }


def measure_pair(
    model: nn.Module,
    data: Dataset,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    num_points: int,
) -> dict[str, Any]:
    """Return barriers over some points, and features over all test images."""
    splits = {
        "train": (data.train_inputs, data.train_labels),
        "test": (data.test_inputs, data.test_labels),
    }
    curves = {
        split: onebasin.evaluation.interpolate(
            model, a, b, onebasin.evaluation.evaluator(*examples), num_points=num_points
        )
        for split, examples in splits.items()
    }
    batches = Batches(*splits["test"])
    llfc = measure_llfc(model, a, b, batches)
    return {
        "barrier": {split: curve.barrier() for split, curve in curves.items()},
        "error barrier": {split: curve.barrier("error") for split, curve in curves.items()},
        "llfc": {
            layer: {
                "1-cos": llfc.at(layer, "1-cos", HALF).mean,
                "1-cos ends": llfc.at(layer, "1-cos ends").mean,
                "projection": llfc.at(layer, "projection", HALF).mean,
                "c": llfc.at(layer, "c", HALF).mean,
                "examples": llfc.at(layer, "1-cos", HALF).n,
            }
            for layer in llfc.layers
        },
        "additivity": _distances(measure_additivity(model, a, b, batches), HALF),
        "commutativity": _distances(measure_commutativity(model, a, b, batches), None),
    }


def _distances(table: FeatureTable, alpha: float | None) -> dict[str, float]:
    return table.means("distance", alpha)


def failed(found: Mapping[str, Any]) -> list[str]:
    """Return the criteria that fail, one line for each."""
    naive, aligned = found["naive"], found["aligned"]
    limit = iter(LIMITS.values())
    failures = []

    def check(holds: bool, text: str) -> None:
        if not holds:
            failures.append(text)

    check(naive["barrier"]["train"] > next(limit), "the naive training barrier is low")
    check(aligned["barrier"]["train"] < next(limit), "the aligned training barrier is high")
    check(aligned["barrier"]["test"] < next(limit), "the aligned test barrier is high")
    most, share, times = limit
    layers = list(aligned["llfc"])
    for layer in layers:
        before, after = naive["llfc"][layer], aligned["llfc"][layer]
        check(after["1-cos"] <= most, f"{layer}: 1-cos of the aligned pair")
        check(after["1-cos"] <= share * after["1-cos ends"], f"{layer}: 1-cos against the ends")
        if layer != layers[0]:
            check(before["1-cos"] >= times * after["1-cos"], f"{layer}: naive against aligned")
            nearer = abs(after["c"] - 1) < abs(before["c"] - 1)
            check(nearer, f"{layer}: c of the aligned pair is not nearer to 1")
    for measure_ in ("additivity", "commutativity"):
        for layer, distance in aligned[measure_].items():
            check(distance <= naive[measure_][layer], f"{layer}: {measure_} is not in order")
    return failures


def page(found: Mapping[str, Any], failures: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the page of the documentation."""
    naive, aligned = found["naive"], found["aligned"]
    lines = [
        "# Inside linear connectivity: MNIST",
        "",
        "Written by `python benchmarks/mnist.py`. Two MLPs 784-512-512-512-10 are trained from",
        f"different seeds, for {EPOCHS} epochs with Adam (learning rate {LEARNING_RATE:g}, batches",
        f"of {BATCH_SIZE}). Pixels are in [0, 1]. *Naive* is the pair as trained. For *aligned*,",
        "weight matching permutes the second network to match the first.",
        "",
        "Barriers are measured at 25 points of the line.",
        "",
        "| barrier | naive | aligned |",
        "|---|--:|--:|",
    ]
    for name in ("barrier", "error barrier"):
        for split in ("train", "test"):
            pair = naive[name][split], aligned[name][split]
            what = "error" if "error" in name else "loss"
            lines.append(f"| {split} {what} | {pair[0]:.4f} | {pair[1]:.4f} |")
    lines += [
        "",
        "**LLFC** (layerwise linear feature connectivity). X are the features of the midpoint",
        "(α = ½), and Y is the mean of the features of both networks, over all 10,000 test images.",
        "*1 − cos* compares X with Y, and *endpoints* is 1 − cos between the features of both",
        "networks. LLFC holds if 1 − cos is 0, so that cX = Y. The coefficient c is one over the",
        "mean of ⟨X,Y⟩/‖Y‖².",
        "",
        "| layer | naive: 1 − cos | endpoints | ⟨X,Y⟩/‖Y‖² | c "
        "| aligned: 1 − cos | endpoints | ⟨X,Y⟩/‖Y‖² | c |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for layer in aligned["llfc"]:
        cells = [
            f"{pair['llfc'][layer][name]:.4f}"
            for pair in (naive, aligned)
            for name in ("1-cos", "1-cos ends", "projection", "c")
        ]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "**Additivity and commutativity.** The distance ‖X − Y‖²/(‖X‖‖Y‖) of both sides of the",
        "equation ([measures](../features.md#measures)). It is 0 if the property holds.",
        "",
        "| measure | layer | naive | aligned |",
        "|---|---|--:|--:|",
    ]
    for name in ("additivity", "commutativity"):
        for layer in aligned[name]:
            pair = naive[name][layer], aligned[name][layer]
            lines.append(f"| {name} | {layer} | {pair[0]:.4f} | {pair[1]:.4f} |")
    lines += ["", "| criterion | limit |", "|---|--:|"]
    lines += [f"| {name} | {limit:g} |" for name, limit in LIMITS.items()]
    verdict = "All criteria hold." if not failures else "Failed: " + "; ".join(failures) + "."
    lines += ["", verdict, "", *(f"- {key}: {value}" for key, value in environment.items()), ""]
    return "\n".join(lines)


def _environment(options: argparse.Namespace, seconds: Mapping[str, float]) -> dict[str, str]:
    return {
        "seeds": " and ".join(map(str, options.seeds)),
        **{f"seconds of {name}": f"{value:.0f}" for name, value in seconds.items()},
        "threads": str(options.threads),
        **machine("torch"),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=[1, 2], metavar=("A", "B"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--data-root", type=Path, default=None, help="folder with mnist/; else ONEBASIN_DATA"
    )
    add_folder(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
