"""Time of an annealing step, compared with simanneal and a full forward pass.

Both start at the same permutation, with the same networks, examples and energy. They run
alternately in one process, with the same number of threads. simanneal's energy averages the
permuted networks and runs them in PyTorch. Its state is copied by slices, its fastest method.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from publishing import add_folder, machine, publish
from torch import Tensor

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
PAPER_STEPS, PAPER_SECONDS = 50_000, 10_000
PEER_STEPS = 12


@dataclass(frozen=True)
class Case:
    """A case: sizes of the hidden layers, number of networks, averages and energy."""

    hidden: tuple[int, ...]
    networks: int = 2
    averages: str = "all"
    energy: str = "loss"
    steps: int = 5000

    @property
    def name(self) -> str:
        """The layers' sizes."""
        return "-".join(map(str, (784, *self.hidden, 10)))


CASES = (
    Case((1024,)),
    Case((1024,), energy="error"),
    Case((1024,), networks=5),
    Case((1024,), networks=5, averages="pairs", steps=2000),
    Case((64,)),
    Case((512, 512), steps=100),
    Case((512, 512, 512), steps=50),
)
"""The first case is that of the paper; it must be at least 200 times faster than simanneal."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every case, print it, and write the page."""
    options = _parser().parse_args(argv)
    # numba looks for a package named coverage, and must not find the benchmark in this folder.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).parent]
    torch.set_num_threads(options.threads)
    from onebasin.data.datasets import load_dataset

    data = load_dataset("mnist", root=options.data)
    rows = []
    for case in CASES[: options.cases]:
        rows.append(measure(case, data, options.runs, options.examples))
        print(json.dumps(rows[-1]), flush=True)
    rows[0] |= whole(CASES[0], data, options.examples)
    environment = _environment(options)
    document = {"environment": environment, "rows": rows}
    publish("annealing", page(rows, environment), document, options.out)
    return 0


def measure(case: Case, data: Any, runs: int, num_examples: int) -> dict[str, Any]:
    """Return the row of a case: medians over the runs."""
    from onebasin.matching._annealing.state import columns_of, draw_steps

    model, symmetry, networks, inputs, labels = problem(case, data, num_examples)
    walk, mixtures = make_walk(case, model, symmetry, networks, [(inputs, labels)])
    columns = columns_of(symmetry, range(1, case.networks))
    rng, ours, theirs = np.random.default_rng(0), [], []
    peer = make_peer(case, networks, mixtures, inputs, labels)
    walk.run(draw_steps(columns, np.full(2, 1e-3), rng))  # compiled by now
    for _ in range(runs):
        began = time.perf_counter()
        peer.anneal()
        theirs.append((time.perf_counter() - began) / (PEER_STEPS + 1))  # and one to begin with
        temperatures = np.full(case.steps, 1e-4)
        began = time.perf_counter()
        walk.run(draw_steps(columns, temperatures, rng))
        ours.append((time.perf_counter() - began) / case.steps)
    peer.state = [order[group].tolist() for order in walk.indices for group in order]
    found = {
        "network": case.name,
        **asdict(case),
        "step_seconds": statistics.median(ours),
        "step_seconds_all": ours,
        "peer_step_seconds": statistics.median(theirs),
        "peer_step_seconds_all": theirs,
        "energy": walk.energy,
        "energy_of_peer": peer.energy(),
    }
    found["times_faster"] = found["peer_step_seconds"] / found["step_seconds"]
    if abs(found["energy"] - found["energy_of_peer"]) > 1e-4:
        raise AssertionError(f"the energies differ: {found}")
    return found | {"quantity": case.energy}


def problem(case: Case, data: Any, num_examples: int) -> tuple[Any, ...]:
    """Return trained networks of a case, and the examples for annealing."""
    import onebasin
    from onebasin_studies.training.train import train

    sizes = (784, *case.hidden, 10)
    layers: list[torch.nn.Module] = [torch.nn.Flatten()]
    for size_in, size_out in pairwise(sizes):
        layers += [torch.nn.Linear(size_in, size_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    trained = train(model, data, seeds=range(case.networks), epochs=1, batch_size=500)
    inputs, labels = data.train_inputs[:num_examples], data.train_labels[:num_examples]
    networks = [each.params for each in trained]
    return (
        model,
        onebasin.infer_symmetry(model, inputs[:2]),
        networks,
        inputs.clone(),
        labels.clone(),
    )


def make_walk(case: Case, model: Any, symmetry: Any, networks: Any, batches: Any) -> Any:
    """Return the annealing state of onebasin at the identity, and its averages."""
    from onebasin import Permutation
    from onebasin.matching._annealing.evaluated import examples_of
    from onebasin.matching._annealing.factory import state_factory

    pairs = tuple(combinations(range(case.networks), 2))
    mixtures = pairs if case.averages == "pairs" else (tuple(range(case.networks)),)
    energy: Any = case.energy
    examples = examples_of(model, batches, energy)
    identity = dict(Permutation.identity(symmetry).indices)
    make = state_factory(symmetry, networks, mixtures, examples)
    return make((identity,) * case.networks), mixtures


def make_peer(case: Case, networks: Any, mixtures: Any, inputs: Tensor, labels: Tensor) -> Any:
    """Return simanneal's annealer of the same networks."""
    from simanneal import Annealer

    inputs = inputs.flatten(1)
    depth = len(case.hidden)
    weights = [[t for n, t in p.items() if n.endswith("weight")] for p in networks]
    biases = [[t for n, t in p.items() if n.endswith("bias")] for p in networks]

    class Peer(Annealer):
        """Annealer whose state is one order for each hidden layer of each network."""

        copy_strategy, updates, steps, Tmax, Tmin = "slice", 0, PEER_STEPS, 1e-4, 0.99e-4

        def move(self) -> None:
            for at in range(depth, len(self.state)):
                order = list(self.state[at])
                i, j = random.sample(range(len(order)), 2)
                order[i], order[j] = order[j], order[i]
                self.state[at] = order

        def energy(self) -> float:
            orders = [torch.tensor(order) for order in self.state]
            moved = [
                self.moved(m, orders[m * depth : (m + 1) * depth]) for m in range(len(networks))
            ]
            return sum(self.evaluate([moved[m] for m in mixture]) for mixture in mixtures) / len(
                mixtures
            )

        def moved(self, m: int, orders: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
            layers = list(zip(weights[m], biases[m], strict=True))
            for at, order in enumerate(orders):
                (weight, bias), (above, bias_above) = layers[at], layers[at + 1]
                layers[at] = weight[order], bias[order]
                layers[at + 1] = above[:, order], bias_above
            return layers

        @torch.no_grad()
        def evaluate(self, moved: list[list[tuple[Tensor, Tensor]]]) -> float:
            values = inputs
            for at, layers in enumerate(zip(*moved, strict=True)):
                weight = torch.stack([layer[0] for layer in layers]).mean(0)
                bias = torch.stack([layer[1] for layer in layers]).mean(0)
                values = F.linear(values.relu() if at else values, weight, bias)
            if case.energy == "loss":
                return F.cross_entropy(values, labels).item()
            return (values.argmax(1) != labels).float().mean().item()

    random.seed(0)
    return Peer([list(range(size)) for _ in range(case.networks) for size in case.hidden])


def whole(case: Case, data: Any, num_examples: int) -> dict[str, Any]:
    """Return the seconds of a complete search with the number of steps of the paper."""
    import onebasin

    model, symmetry, networks, inputs, labels = problem(case, data, num_examples)
    batches = [(inputs, labels)]
    found = onebasin.matching.match_annealing(
        symmetry, *networks, model=model, data=batches, steps=PAPER_STEPS
    )
    return {
        "paper_steps_seconds": found.seconds,
        "loss_before": -found.objective[0],
        "loss_after": -found.objective[-1],
    }


def page(rows: Sequence[dict[str, Any]], environment: dict[str, str]) -> str:
    """Return the page of the documentation."""
    first = rows[0]
    lines = [
        "# Annealing",
        "",
        "Written by `python benchmarks/annealing.py`. A step swaps two units in every hidden layer",
        "of every network except the first, and evaluates the energy: the loss or error of the",
        "average on all examples. The average is that of all networks (`all`), or of each pair",
        "(`pairs`).",
        "",
        "The package simanneal is the reference. It has no code for networks, so each of its steps",
        "runs a full forward pass in PyTorch. Both use the same networks, examples and energy, and",
        "run alternately in one process. Steps per second are medians over the runs.",
        "",
        "| layer sizes | networks | averages | energy | onebasin, steps/s | simanneal, steps/s "
        "| speedup |",
        "|---|--:|---|---|--:|--:|--:|",
        *map(_line, rows),
        "",
        f"A complete search of {PAPER_STEPS:,} steps for the first row took "
        f"{first['paper_steps_seconds']:.1f} s. It reduced the loss at the midpoint from "
        f"{first['loss_before']:.3f} to {first['loss_after']:.3f}. Entezari et al. (2022) report "
        f"{PAPER_SECONDS:,} s for this number of steps on a V100.",
        "",
        *(f"- {key}: {value}" for key, value in environment.items()),
        "",
    ]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    cells = [
        row["network"],
        str(row["networks"]),
        row["averages"],
        row["quantity"],
        f"{1 / row['step_seconds']:,.0f}",
        f"{1 / row['peer_step_seconds']:.1f}",
        f"{row['times_faster']:,.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _environment(options: argparse.Namespace) -> dict[str, str]:
    return {
        "examples": f"{options.examples:,} of MNIST's training set",
        "threads": f"{options.threads}; a compiled step uses one",
        "runs": str(options.runs),
        "load": f"{os.getloadavg()[1]:.1f} processes on average in the last five minutes",
        **machine("torch", "numba", "simanneal"),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(os.environ.get("ONEBASIN_DATA", SHARED))
    parser.add_argument("--data", type=Path, default=root, help="folder with mnist/")
    parser.add_argument("--cases", type=int, default=len(CASES), help="how many cases")
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    add_folder(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
