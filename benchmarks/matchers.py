"""Compare all matchers on the same pairs of networks, and write the page of the results.

For every pair, matcher and repair of statistics: the barriers of loss and error on training and
test data, the loss of the midpoint, seconds and memory. Every matcher runs in a separate process
and uses the same training examples.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matcher_pairs import PAIRS
from matchers_page import page
from publishing import add_folder, machine, publish, write
from torch import Tensor, nn

import onebasin
from onebasin.evaluation import Curve, evaluator
from onebasin.evaluation._repair import repair
from onebasin.graph.batches import Batches
from onebasin.matching.registry import MATCHERS

SETTINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "none": ("", {}),
    "weights": ("weights", {}),
    "weights, 5 starts": ("weights", {"restarts": 5}),
    "activations": ("activations", {}),
    "activations, before ReLU": ("activations", {"position": "pre"}),
    "correlation": ("activations", {"statistic": "correlation"}),
    "correlation, before ReLU": ("activations", {"statistic": "correlation", "position": "pre"}),
    "functional difference": ("functional-difference", {}),
    "functional difference, optimal": ("functional-difference", {"assignment": "optimal"}),
    "straight-through": ("straight-through", {}),
    "annealing, 2,000 steps": ("annealing", {"steps": 2_000}),
    "sinkhorn, weights": ("sinkhorn", {"objective": "weights"}),
    "sinkhorn, midpoint": ("sinkhorn", {"objective": "midpoint"}),
    "frank-wolfe": ("frank-wolfe", {}),
    "commutativity": ("commutativity", {}),
    "combined": ("combined", {}),
    "combined, 5 starts": ("combined", {"restarts": 5}),
    "combined, then straight-through": ("straight-through", {"init": "combined"}),
    "combined, then sinkhorn": ("sinkhorn", {"objective": "midpoint", "init": "combined"}),
}
"""Method and options of each matcher; `init` names the matcher that runs first."""

REPAIRS = ("none", "reset", "repair", "rescale")
ALPHAS = (0.0, 0.5, 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, match, measure, print and write the page, again after every matcher."""
    options = _parser().parse_args(argv)
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1")
    torch.set_num_threads(options.threads)
    rows = _kept(options.out) if options.keep else []
    context = multiprocessing.get_context("spawn")
    for pair in options.pairs:
        case = PAIRS[pair]
        case.networks(case.data(options.data_root), options.cache / pair)
        for matcher in options.matchers:
            with context.Pool(1) as pool:
                found = pool.apply(measure, (pair, matcher, options))
            rows = [row for row in rows if (row["pair"], row["matcher"]) != (pair, matcher)] + found
            print(json.dumps(rows[-1]), flush=True)
            write("matchers", *_page(rows, options), options.out)
    publish("matchers", *_page(rows, options), options.out)
    return 0


def _kept(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the existing page."""
    return json.loads((folder / "matchers.json").read_text())["rows"]


def _page(
    rows: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> tuple[str, dict[str, Any]]:
    pairs, matchers, repairs = list(PAIRS), list(SETTINGS), list(REPAIRS)
    ordered = sorted(
        rows,
        key=lambda row: (
            pairs.index(row["pair"]),
            matchers.index(row["matcher"]),
            repairs.index(row["repair"]),
        ),
    )
    environment = _environment(options)
    return page(ordered, environment), {"environment": environment, "rows": ordered}


def measure(pair: str, matcher: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for every repair of one matcher's permutation of one pair."""
    torch.set_num_threads(options.threads)
    # numba looks for the package coverage and would find the benchmark of that name.
    sys.modules.setdefault("coverage", None)  # type: ignore[arg-type]
    case = PAIRS[pair]
    if matcher.startswith("annealing") and not case.is_chain:
        return [_row(pair, matcher, "none") | {"reason": "full evaluations would take hours"}]
    data = case.data(options.data_root)
    a, b = case.networks(data, options.cache / pair)
    model = case.build()
    seen = Batches(data.train_inputs[: case.num_seen], data.train_labels[: case.num_seen])
    test = Batches(data.test_inputs[: case.num_tested], data.test_labels[: case.num_tested])
    before = _peak()
    seconds, uses_batches = 0.0, False
    if matcher != "none":
        found, seconds = match(matcher, model, [a, b], seen)
        uses_batches = bool(_normalization(matcher, a))
        b = found.apply(b)
    cost = {"seconds": seconds, "mebibytes": _peak() - before, "uses_batches": uses_batches}
    sets = {"train": seen, "test": test}
    return [
        _row(pair, matcher, kind) | cost | measure_line(model, a, b, sets, kind)
        for kind in REPAIRS
        if kind != "reset" or _has_statistics(a)
    ]


def match(
    matcher: str, model: nn.Module, params: Sequence[Mapping[str, Tensor]], data: Batches
) -> tuple[onebasin.Permutation, float]:
    """Return the permutation that a matcher finds, and the seconds that it takes."""
    name, arguments = SETTINGS[matcher]
    options, seconds = dict(arguments) | _normalization(matcher, params[0]), 0.0
    if "init" in options:
        options["init"], seconds = match(options["init"], model, params, data)
    symmetry = onebasin.infer_symmetry(model, data.inputs[:2])
    found = MATCHERS[name].match(symmetry, params, model=model, data=data, **options)
    return found.permutation, seconds + found.seconds


def measure_line(
    model: nn.Module,
    a: Mapping[str, Tensor],
    b: Mapping[str, Tensor],
    sets: Mapping[str, Batches],
    kind: str,
) -> dict[str, float]:
    """Return barriers and the loss of the midpoint on every set, with a repair of the midpoint."""
    points = []
    for alpha in ALPHAS:
        merged = onebasin.average([a, b], [alpha, 1 - alpha])
        if kind != "none" and 0 < alpha < 1:
            shares = [alpha, 1 - alpha]
            merged = repair(
                model, merged, [a, b], sets["train"], method=kind, weights=shares
            ).params
        points.append(merged)
    row: dict[str, float] = {}
    for name, batches in sets.items():
        found = [evaluator(batches)(_bound(model, point)) for point in points]
        losses, errors = (tuple(e.loss for e in found), tuple(e.error for e in found))
        curve = Curve(ALPHAS, losses, errors)
        middle = ALPHAS.index(0.5)
        row |= {
            f"{name} loss barrier": curve.barrier("loss"),
            f"{name} error barrier": curve.barrier("error"),
            f"{name} loss": losses[middle],
            f"{name} accuracy": 1 - errors[middle],
        }
        for end, place in (("A", -1), ("B", 0)):
            row[f"{name} loss of {end}"] = losses[place]
            row[f"{name} accuracy of {end}"] = 1 - errors[place]
    return row


def _normalization(matcher: str, params: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the option of matchers that evaluate a loss, for networks with BatchNorm."""
    name, options = SETTINGS[matcher]
    uses_loss = "normalization" in MATCHERS[name].options and options.get("objective") != "weights"
    return {"normalization": "batch"} if uses_loss and _has_statistics(params) else {}


def _has_statistics(params: Mapping[str, Tensor]) -> bool:
    return any("running_mean" in name for name in params)


def _bound(model: nn.Module, params: Mapping[str, Tensor]) -> nn.Module:
    from onebasin.graph.binding import FunctionalModel

    return FunctionalModel(model, params)


def _row(pair: str, matcher: str, kind: str) -> dict[str, Any]:
    return {"pair": pair, "matcher": matcher, "repair": kind}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _environment(options: argparse.Namespace) -> dict[str, str]:
    return {
        "threads": str(options.threads),
        "training examples seen": _counts("num_seen"),
        "test examples": _counts("num_tested"),
        **machine("torch"),
    }


def _counts(field: str) -> str:
    return ", ".join(f"{getattr(case, field):,} ({pair})" for pair, case in PAIRS.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--matchers", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data-root", type=Path, help="folder of the data; else ONEBASIN_DATA")
    parser.add_argument(
        "--cache", type=Path, default=Path("matchers-cache"), help="folder of the trained pairs"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep existing rows of other pairs and matchers"
    )
    add_folder(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
