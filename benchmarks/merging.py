"""Compare ways to merge two networks on the same pairs, and write the page.

For every pair, number of unlabeled images and method: test loss and accuracy of the merged network,
seconds and memory. Every method runs in its own process on the same aligned networks.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from matcher_pairs import MNIST_SPLIT, PAIRS, VIT, PairCase
from merging_baselines import BASELINES
from merging_page import page
from publishing import add_folder, machine, publish, write
from torch import Tensor, nn

import onebasin
from onebasin.checkpoints import build_architecture, open_checkpoint
from onebasin.evaluation import evaluator
from onebasin.evaluation._repair import repair
from onebasin.graph.batches import Batches
from onebasin.graph.binding import FunctionalModel
from onebasin.matching import match_combined
from onebasin.merging.enlarging import merge_enlarged

CASES: Mapping[str, PairCase] = {**PAIRS, "vit": VIT, "mnist-split": MNIST_SPLIT}
"""The kinds of networks that are trained here."""

SIZES = {"size 1.2": 1.2}
"""Networks between one and two parents."""

METHODS = ("unaligned", "aligned", "reset", "repair", *BASELINES, "refit", *SIZES, "ensemble")
NUM_ALIGNING = 2_000
"""Training images that the alignment uses."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read the pairs, merge, measure, and write the page after every row."""
    options = _parser().parse_args(argv)
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1")
    rows = _kept(options.out) if options.keep else []
    known = {_key(row) for row in rows}
    context = multiprocessing.get_context("spawn")
    for task in _tasks(options):
        if _key(task) in known:
            continue
        with context.Pool(1) as pool:
            pool.apply(align, (task, options))
        with context.Pool(1) as pool:
            rows.append(pool.apply(measure, (task, options)))
        print(json.dumps(rows[-1]), flush=True)
        write("merging", *_page(rows, options), options.out)
    publish("merging", *_page(rows, options), options.out)
    return 0


def _tasks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows to measure: kind, first seed, number of images and method."""
    kinds = [(kind, 2 * n) for kind in options.pairs for n in range(options.num_pairs)]
    if options.checkpoints:
        kinds.append(("checkpoints", 0))
    tasks = []
    for kind, seed in kinds:
        for method in METHODS:
            uses_images = method not in ("unaligned", "aligned", "ensemble")
            for images in options.images if uses_images else [0]:
                if method != "reset" or _has_norm(kind, options):
                    tasks.append({"kind": kind, "seed": seed, "images": images, "method": method})
    return tasks


def measure(task: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the row of a task."""
    torch.set_num_threads(options.threads)
    model, networks, data = _pair(task["kind"], task["seed"], options)
    aligned = [networks[0], torch.load(_aligned_path(task, options))]
    test = Batches(data.test_inputs[: options.num_test], data.test_labels[: options.num_test])
    evaluate = evaluator(test)
    row: dict[str, Any] = dict(task)
    if task["method"] == "ensemble":
        row |= _of_ensemble(model, networks, test)
    else:
        before, start = _reset_peak(), time.perf_counter()
        images = task["images"]
        seen = Batches(data.train_inputs[:images], None, batch_size=250) if images else None
        merged = merge(task["method"], model, networks, aligned, seen)
        row |= {"seconds": time.perf_counter() - start, "mebibytes": _peak() - before}
        sizes = [sum(each.numel() for each in m.parameters()) for m in (merged, model)]
        row["parameters"] = sizes[0] / sizes[1]
        found = evaluate(merged)
        row |= {"loss": found.loss, "accuracy": 1 - found.error}
    for name, params in zip("AB", networks, strict=True):
        found = evaluate(FunctionalModel(model, params))
        row |= {f"loss of {name}": found.loss, f"accuracy of {name}": 1 - found.error}
    return row


def merge(
    method: str,
    model: nn.Module,
    networks: Sequence[Mapping[str, Tensor]],
    aligned: Sequence[Mapping[str, Tensor]],
    data: Batches | None,
) -> nn.Module:
    """Return the network merged by a method.

    Args:
        method: one of `METHODS`.
        model: the architecture.
        networks: the two networks.
        aligned: the same, the second aligned to the first.
        data: unlabeled images.
    """
    if method == "unaligned":
        return FunctionalModel(model, onebasin.average(networks))
    if method == "aligned":
        return FunctionalModel(model, onebasin.average(aligned))
    assert data is not None
    if method in SIZES:
        symmetry = onebasin.infer_symmetry(model, data.inputs[:2])
        weights = [1 / len(aligned)] * len(aligned)
        return merge_enlarged(
            model, aligned, symmetry, data, size=SIZES[method], weights=weights, outputs="logits"
        ).module.eval()
    if method in BASELINES:
        return FunctionalModel(model, BASELINES[method](model, aligned, data))
    mean = onebasin.average(aligned)
    repaired = repair(model, mean, aligned, data, method=method, outputs="logits")  # type: ignore[arg-type]
    return FunctionalModel(model, repaired.params)


def _of_ensemble(
    model: nn.Module, networks: Sequence[Mapping[str, Tensor]], test: Batches
) -> dict[str, float]:
    """Return loss and accuracy of the mean probabilities."""
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for inputs, labels in test:
            outputs = [FunctionalModel(model, params)(inputs).softmax(1) for params in networks]
            mean = torch.stack(outputs).mean(0)
            loss -= float(mean.log()[torch.arange(len(labels)), labels].sum())
            right += int((mean.argmax(1) == labels).sum())
            count += len(labels)
    return {"loss": loss / count, "accuracy": right / count}


def _pair(kind: str, seed: int, options: argparse.Namespace) -> tuple[nn.Module, list[Any], Any]:
    """Return architecture, networks and data of a pair."""
    if kind == "checkpoints":
        spec, *paths = options.checkpoints
        model = build_architecture(spec, input_spec="2x3x32x32").module
        own = model.state_dict()
        found = [dict(open_checkpoint(Path(path))) for path in paths]
        networks = [{name: params.get(name, own[name]) for name in own} for params in found]
        return model, networks, PAIRS["resnet20"].data(options.data_root)
    case = CASES[kind]
    data = case.data(options.data_root)
    folder = options.cache / (f"{kind}-{seed}" if seed else kind)
    networks = case.networks(data, folder, seeds=(seed, seed + 1))
    return case.build(), networks, data


def align(task: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Align the second network of a pair to the first, and write it to a file."""
    path = _aligned_path(task, options)
    if path.exists():
        return
    torch.set_num_threads(options.threads)
    model, networks, data = _pair(task["kind"], task["seed"], options)
    images = Batches(data.train_inputs[:NUM_ALIGNING], None)
    symmetry = onebasin.infer_symmetry(model, data.train_inputs[:2])
    found = match_combined(symmetry, *networks, model=model, data=images)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(found.permutation.apply(networks[1]), path)


def _aligned_path(task: Mapping[str, Any], options: argparse.Namespace) -> Path:
    name = f"{task['kind']}-{task['seed']}"
    if task["kind"] == "checkpoints":
        name += "-" + sha256("\0".join(options.checkpoints).encode()).hexdigest()[:12]
    return options.cache / f"aligned-{name}.pt"


def _has_norm(kind: str, options: argparse.Namespace) -> bool:
    spec = options.checkpoints[0] if kind == "checkpoints" else ""
    model = build_architecture(spec, input_spec="2x3x32x32").module if spec else CASES[kind].build()
    return any(name.endswith("running_mean") for name, _ in model.named_buffers())


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["kind"], row["seed"], row["images"], row["method"]


def _kept(folder: Path) -> list[dict[str, Any]]:
    path = folder / "merging.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def _page(
    rows: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> tuple[str, dict[str, Any]]:
    environment = {
        "threads": str(options.threads),
        "images for the alignment": f"{NUM_ALIGNING:,}",
        "test images": f"{options.num_test:,}",
        **machine("torch"),
    }
    ordered = sorted(rows, key=lambda row: (row["kind"], row["seed"], row["images"]))
    return page(ordered, environment), {"environment": environment, "rows": ordered}


def _reset_peak() -> float:
    """Reset the peak memory of this process, and return its memory in MiB (Linux only)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """Return the peak memory of this process in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--num-pairs", type=int, default=4, help="pairs of each kind")
    parser.add_argument(
        "--checkpoints", nargs=3, metavar=("ARCH", "A", "B"), help="two CIFAR-10 checkpoints"
    )
    parser.add_argument("--images", nargs="+", type=int, default=[1_000, 2_000, 10_000])
    parser.add_argument("--num-test", type=int, default=5_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data-root", type=Path, help="folder of the data; else ONEBASIN_DATA")
    parser.add_argument(
        "--cache", type=Path, default=Path("merging-cache"), help="folder of the trained pairs"
    )
    parser.add_argument("--keep", action="store_true", help="keep the rows of the page")
    add_folder(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
