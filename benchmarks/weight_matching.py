"""Time of weight matching, compared with its minimal work and with rebasin.

Every case runs in a separate process with a fixed number of threads: onebasin on two unrelated
networks and on a related pair, the floor (only the matrix products of one sweep and one
assignment per group), and with `--peer` rebasin on the same unrelated networks.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from memory import PeakMemory
from publishing import add_folder, machine, publish
from torch import Tensor, nn

NOISE = 0.1
LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "use_cache": False,
}
"""The shape of a decoder with 1.1 billion parameters."""


MODELS = ("resnet50", "vgg16_bn", "vit_b_16", "llama-1b")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all requested cases, print them, and write the page."""
    options = _parser().parse_args(argv)
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1")
    context = multiprocessing.get_context("spawn")
    found = {row["model"]: row for row in _kept(options.out)} if options.keep else {}
    for name in options.models:
        with context.Pool(1) as pool:
            row = pool.apply(measure, (name, options.threads, options.runs))
        with TemporaryDirectory() as folder:
            with context.Pool(1) as pool:
                pool.apply(write_networks, (name, folder))
            with context.Pool(1) as pool:
                row |= pool.apply(measure_memory, (name, folder, options.threads))
        if options.peer:
            row |= _peer(context, name, options)
        found[name] = row
        print(json.dumps(row), flush=True)
    rows, environment = [found[name] for name in MODELS if name in found], _environment(options)
    document = {"environment": environment, "rows": rows}
    publish("weight_matching", page(rows, environment), document, options.out)
    return 0


def _kept(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the existing page."""
    return json.loads((folder / "weight_matching.json").read_text())["rows"]


def measure(name: str, threads: int, runs: int) -> dict[str, Any]:
    """Return the row of one architecture; medians over the runs."""
    torch.set_num_threads(threads)
    import onebasin

    model_a, model_b, args, kwargs = networks(name)
    began = time.perf_counter()
    symmetry = onebasin.infer_symmetry(model_a, args, kwargs)
    row: dict[str, Any] = {"model": name, "trace_seconds": time.perf_counter() - began}
    a, b = model_a.state_dict(), model_b.state_dict()
    row |= {"parameters": sum(p.numel() for p in model_a.parameters())}
    row |= {"groups": len(symmetry.groups)}
    related = onebasin.Permutation.random(symmetry, seed=1).apply(noisy(a))
    for pair, other in (("unrelated", b), ("related", related)):
        match = onebasin.matching.match_weights
        found = [match(symmetry, a, other, seed=seed) for seed in range(runs)]
        floors = [floor(symmetry, a, other) for _ in range(runs)]
        row[pair] = {
            "seconds": statistics.median(m.seconds for m in found),
            "floor_seconds": statistics.median(floors),
            "objectives": [m.objective[-1] for m in found],
            "sweeps": [m.num_sweeps for m in found],
        }
    return row


def write_networks(name: str, folder: str) -> None:
    """Write both networks of a case as checkpoints."""
    from safetensors.torch import save_model

    for side, model in zip("ab", networks(name)[:2], strict=True):
        save_model(model, str(Path(folder) / f"{side}.safetensors"))


def measure_memory(name: str, folder: str, threads: int) -> dict[str, float]:
    """Return the memory that the matching of two mapped checkpoints needs.

    The symmetry is inferred on the meta device, so no network is in memory.
    """
    import onebasin

    torch.set_num_threads(threads)
    with torch.device("meta"):
        model, _, args, kwargs = networks(name)
    symmetry = onebasin.infer_symmetry(model, args, kwargs)
    paths = [Path(folder) / f"{side}.safetensors" for side in "ab"]
    with PeakMemory() as memory, onebasin.open_checkpoint(paths[0]) as a:
        with onebasin.open_checkpoint(paths[1]) as b:
            found = onebasin.matching.match_weights(symmetry, a, b)
    size = paths[0].stat().st_size / 2**30
    return {
        "peak_gibibytes": memory.gibibytes,
        "checkpoint_gibibytes": size,
        "lazy_seconds": found.seconds,
    }


def networks(name: str) -> tuple[nn.Module, nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Return two networks of one architecture from seeds 0 and 1, and example inputs."""
    from onebasin._packages import import_torchvision

    torchvision = import_torchvision()
    built = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        if name == "llama-1b":
            from transformers import LlamaConfig, LlamaForCausalLM

            built.append(LlamaForCausalLM(LlamaConfig(**LLAMA)).to(torch.bfloat16).eval())
        else:
            built.append(torchvision.models.get_model(name, weights=None).eval())
    if name == "llama-1b":
        return *built, (), {"input_ids": torch.zeros(2, 16, dtype=torch.long)}
    return *built, (torch.zeros(2, 3, 224, 224),), {}


def noisy(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return parameters with noise of a tenth of each tensor's standard deviation."""
    generator = torch.Generator().manual_seed(2)

    def noise(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or tensor.numel() < 2:
            return tensor
        draw = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        return tensor + NOISE * tensor.std() * draw

    return {name: noise(tensor) for name, tensor in params.items()}


def floor(symmetry: Any, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Return the seconds of one sweep's matrix products and one assignment per group.

    The time does not include rearranging and converting the rows of both networks. No unit is
    permuted.
    """
    from onebasin import Permutation
    from onebasin.matching._coordinate_descent.pair import Pair
    from onebasin.matching._coordinate_descent.search import Search

    pair = Pair(symmetry, a, b)
    pair.compute_stats()
    search = Search(symmetry, pair, cache_bytes=0)
    identity = Permutation.identity(symmetry).indices
    seconds = 0.0
    for root, tree in search.trees.items():
        rows = [
            [view.arrange(tensor).to(pair.dtype).contiguous() for tensor in pair.read(view.tensor)]
            for view in search.views[root]
        ]
        keys = [view.key for view in search.views[root]]
        sums = {
            key: torch.zeros(key.num_outer(tree), key.num_own(tree), key.num_own(tree))
            for key in keys
        }
        began = time.perf_counter()
        for key, (left, right) in zip(keys, rows, strict=True):
            shape = (key.num_outer(tree), -1, key.num_own(tree))
            sums[key].baddbmm_(left.view(shape).transpose(1, 2), right.view(shape))
        search.solvers[root].solve(sums, identity)
        seconds += time.perf_counter() - began
    return seconds


def _peer(context: Any, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the median time of rebasin over as many runs, or the reason for its failure."""
    found: list[dict[str, Any]] = []
    while len(found) < options.runs:
        with context.Pool(1) as pool:
            run = pool.apply_async(measure_peer, (name, options.threads))
            found.append(_outcome(run, options.peer_limit))
        if "rebasin_error" in found[-1]:
            return found[-1]
    return found[-1] | {"rebasin_seconds": statistics.median(f["rebasin_seconds"] for f in found)}


def measure_peer(name: str, threads: int) -> dict[str, Any]:
    """Return the seconds of rebasin's search on the same networks, and its objective."""
    import copy

    torch.set_num_threads(threads)
    model_a, model_b, args, _ = networks(name)
    if not args:
        return {"rebasin_error": "it accepts only positional inputs"}
    from rebasin import PermutationCoordinateDescent  # type: ignore[import-not-found]

    moved = copy.deepcopy(model_b)
    search = PermutationCoordinateDescent(model_a, moved, args[0], device_a="cpu", device_b="cpu")
    began = time.perf_counter()
    search.rebasin()
    seconds = time.perf_counter() - began
    found = {name: p.detach().double() for name, p in moved.named_parameters()}
    value = sum(
        float((p.detach().double() * found[name]).sum()) for name, p in model_a.named_parameters()
    )
    return {"rebasin_seconds": seconds, "rebasin_objective": value}


def _outcome(peer: Any, limit: float) -> dict[str, Any]:
    """Return the measurement of rebasin, or the reason for its failure."""
    try:
        return peer.get(timeout=limit)
    except multiprocessing.TimeoutError:
        return {"rebasin_error": f"no result after {limit:.0f} s"}
    except Exception as error:
        return {"rebasin_error": f"{type(error).__name__}: {error}"}


def page(rows: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> str:
    """Return the page of the documentation."""
    lines = [
        "# Weight matching",
        "",
        "Written by `python benchmarks/weight_matching.py`. An *unrelated* pair is two networks",
        "with random weights from different seeds. A *related* pair is a network and its permuted",
        "copy with noise. The *floor* is the time of the minimal work: the matrix products of one",
        "sweep, and one assignment for each group. Times are medians over the runs.",
        "",
        "The *objective* is the inner product of A and the permuted B over all parameters, from",
        "the lowest to the highest over the runs; higher is better. *Memory* is the memory that",
        "matching allocates, without the two checkpoints, which are mapped from files.",
        "",
        "| model | parameters | groups | pair | time | floor | time / floor | sweeps "
        "| objective | rebasin, time | rebasin, objective | speedup over rebasin "
        "| checkpoint | memory |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [_line(row, pair) for row in rows for pair in ("unrelated", "related")]
    for row in rows:
        if "rebasin_error" in row:
            lines += ["", f"rebasin on {row['model']}: {row['rebasin_error']}"]
    lines += ["", *(f"- {key}: {value}" for key, value in environment.items()), ""]
    return "\n".join(lines)


def _line(row: Mapping[str, Any], pair: str) -> str:
    found = row[pair]
    peer = row.get("rebasin_seconds") if pair == "unrelated" else None
    cells = [
        row["model"],
        f"{row['parameters']:,}",
        str(row["groups"]),
        pair,
        f"{found['seconds']:.2f} s",
        f"{found['floor_seconds']:.2f} s",
        f"{found['seconds'] / found['floor_seconds']:.1f}",
        str(statistics.median(found["sweeps"])),
        f"{min(found['objectives']):.1f} to {max(found['objectives']):.1f}",
        "–" if peer is None else f"{peer:.1f} s",
        "–" if peer is None else f"{row['rebasin_objective']:.1f}",
        "–" if peer is None else f"{peer / found['seconds']:.1f}",
        f"{row['checkpoint_gibibytes']:.1f} GiB",
        f"{row['peak_gibibytes']:.1f} GiB",
    ]
    return "| " + " | ".join(cells) + " |"


def _environment(options: argparse.Namespace) -> dict[str, str]:
    return {
        "threads": str(options.threads),
        "runs": str(options.runs),
        **machine("torch", "torchvision", "transformers", "lapx", "rebasin"),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", action="store_true", help="also measure rebasin")
    parser.add_argument(
        "--peer-limit", type=float, default=300.0, metavar="SECONDS", help="time limit of rebasin"
    )
    parser.add_argument("--keep", action="store_true", help="keep existing rows of other models")
    add_folder(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
