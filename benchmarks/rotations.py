"""Compare ways to align independently trained transformers, and write the page.

For every pair and method: loss and accuracy of the midpoint, the barrier and seconds, also after a
refit. Every method runs in its own process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from publishing import add_folder, machine, publish, write
from rotations_methods import CONTROLS, METHODS, NUM_PASSES, Params, Task
from rotations_page import ALL_METHODS, CONTROL_NAMES, page
from rotations_pairs import CASES, PairData, network
from torch import Tensor, nn

import onebasin
from onebasin.evaluation import Curve, Evaluator, evaluator, interpolate
from onebasin.evaluation._repair import repair
from onebasin.graph.batches import Batches
from onebasin.graph.binding import FunctionalModel


def main(argv: Sequence[str] | None = None) -> int:
    """Train or read the pairs, align, measure, and write the page after every method."""
    options = _parser().parse_args(argv)
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1")
    rows = _kept(options.out) if options.keep else []
    context = multiprocessing.get_context("spawn")
    for kind in options.pairs:
        for number in range(options.num_pairs):
            for method in options.methods:
                key = (kind, 2 * number, method)
                if any(_key(row) == key for row in rows):
                    continue
                with context.Pool(1) as pool:
                    found = pool.apply(measure, (*key, options))
                rows += found
                print(*map(json.dumps, found), sep="\n", flush=True)
                write("rotations", *_page(rows, options), options.out)
    publish("rotations", *_page(rows, options), options.out)
    return 0


def measure(kind: str, seed: int, method: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of a method for a pair: without a repair, and with a refit."""
    torch.set_num_threads(options.threads)
    case = CASES[kind]
    data = case.data(options.data_root)
    networks = [network(kind, number, data, options.cache) for number in (seed, seed + 1)]
    model = case.build().eval()
    test = slice(options.num_test)
    evaluate = evaluator(data.test_inputs[test], data.test_labels[test], batch_size=250)
    row: dict[str, Any] = {"kind": kind, "seed": seed, "method": method, "repair": "none"}
    for name, params in zip("AB", networks, strict=True):
        found = evaluate(FunctionalModel(model, params))
        row |= {f"loss of {name}": found.loss, f"accuracy of {name}": found.accuracy}
    task = _task(kind, seed, model, networks, data, options)
    start = time.perf_counter()
    if method in CONTROLS:
        merged = CONTROLS[method](task)
        seconds = time.perf_counter() - start
        found = evaluate(FunctionalModel(model, merged))
        return [row | {"seconds": seconds, "loss": found.loss, "accuracy": found.accuracy}]
    ends = METHODS[method](task)
    seconds = time.perf_counter() - start
    curve = interpolate(model, *ends, evaluate, num_points=options.points)
    first = row | {"seconds": seconds, **_figures(curve)}
    if not options.refit_images:
        return [first]
    refit, refit_seconds = _refit_curve(model, ends, task, evaluate, options)
    return [first, row | {"repair": "refit", "seconds": seconds + refit_seconds, **_figures(refit)}]


def _task(
    kind: str,
    seed: int,
    model: nn.Module,
    networks: Sequence[Mapping[str, Tensor]],
    data: PairData,
    options: argparse.Namespace,
) -> Task:
    """Return the networks of a pair and the data that methods may use."""
    case, start = CASES[kind], time.perf_counter()
    symmetry = onebasin.infer_symmetry(model, data.inputs[:2])
    print(f"{kind}: symmetry in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    learning = slice(options.num_learning or case.num_learning)
    return Task(
        symmetry,
        model,
        *networks,
        unlabeled=Batches(data.inputs[: options.images], None, batch_size=250),
        labeled=Batches(data.inputs[learning], data.labels[learning], case.learning_batch),
        passes=options.passes,
        seed=seed,
    )


def _figures(curve: Curve) -> dict[str, Any]:
    """Return the barriers and the midpoint of a curve."""
    middle = curve.alphas.index(0.5)
    return {
        "loss": curve.losses[middle],
        "accuracy": 1 - curve.errors[middle],
        "barrier": curve.barrier(),
        "error barrier": curve.barrier("error"),
        "losses": list(curve.losses),
    }


def _refit_curve(
    model: nn.Module,
    ends: Sequence[Params],
    task: Task,
    evaluate: Evaluator,
    options: argparse.Namespace,
) -> tuple[Curve, float]:
    """Return the curve between two networks whose inner points are refit, and the mean seconds.

    Unlike `interpolate`, the refit includes the fit of the last layer to the mean outputs.
    """
    alphas = [number / (options.refit_points - 1) for number in range(options.refit_points)]
    seen = Batches(task.unlabeled.inputs[: options.refit_images], None, batch_size=250)
    found, seconds = [], []
    for alpha in alphas:
        shares = [alpha, 1 - alpha]
        params = ends[1] if alpha == 0 else ends[0]
        if 0 < alpha < 1:
            start = time.perf_counter()
            mean = onebasin.average(ends, weights=shares)
            params = repair(
                model, mean, ends, seen, method="refit", weights=shares, outputs="logits"
            ).params
            seconds.append(time.perf_counter() - start)
        found.append(evaluate(FunctionalModel(model, params)))
    losses, errors = (tuple(getattr(each, name) for each in found) for name in ("loss", "error"))
    curve = Curve(tuple(alphas), losses, errors, normalization="refit")
    return curve, sum(seconds) / len(seconds)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["kind"], row["seed"], row["method"]


def _kept(folder: Path) -> list[dict[str, Any]]:
    path = folder / "rotations.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def _page(
    rows: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> tuple[str, dict[str, Any]]:
    environment = {
        "threads": str(options.threads),
        "unlabeled training inputs for matchers": f"{options.images:,}",
        "unlabeled training inputs for the refit": f"{options.refit_images:,}",
        "passes over the labeled examples": str(options.passes),
        **{
            f"labeled examples of {kind}": f"{options.num_learning or case.num_learning:,}"
            for kind, case in CASES.items()
        },
        "points of the barrier": str(options.points),
        "points of the barrier after a refit": str(options.refit_points),
        "largest number of test inputs": f"{options.num_test:,}",
        **machine("torch"),
    }
    kinds, methods = list(CASES), [*ALL_METHODS, *CONTROL_NAMES]
    ordered = sorted(
        rows,
        key=lambda row: (kinds.index(row["kind"]), methods.index(row["method"]), row["seed"]),
    )
    return page(ordered, environment), {"environment": environment, "rows": ordered}


def _parser() -> argparse.ArgumentParser:
    methods = [*METHODS, *CONTROLS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--num-pairs", type=int, default=5, help="pairs of each kind")
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--images", type=int, default=2_000, help="unlabeled training inputs")
    parser.add_argument("--refit-images", type=int, default=2_000, help="0 for no refit")
    parser.add_argument("--num-learning", type=int, help="labeled examples")
    parser.add_argument("--passes", type=int, default=NUM_PASSES)
    parser.add_argument("--points", type=_odd, default=11, help="points of the barrier")
    parser.add_argument("--refit-points", type=_odd, default=3, help="the same after a refit")
    parser.add_argument("--num-test", type=int, default=5_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-root", type=Path, help="folder of the data; else ONEBASIN_DATA")
    parser.add_argument(
        "--cache", type=Path, default=Path("rotations-cache"), help="folder of the networks"
    )
    parser.add_argument("--keep", action="store_true", help="keep the rows of the page")
    add_folder(parser)
    return parser


def _odd(text: str) -> int:
    """Return a number of points that has the midpoint."""
    number = int(text)
    if number < 3 or number % 2 == 0:
        raise argparse.ArgumentTypeError(f"the number of points must be odd (got {text})")
    return number


if __name__ == "__main__":
    sys.exit(main())
