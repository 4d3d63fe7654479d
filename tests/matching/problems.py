"""Matching problems for every matcher: pairs of small networks of every kind, with data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import permutations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebasin import Permutation, Symmetry, infer_symmetry
from tests.matching.tiny import Heads, Square, perceptron


class Attention(nn.Module):
    """Two query heads to each of two key heads, on a residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 10)
        self.q, self.k, self.v = nn.Linear(10, 20), nn.Linear(10, 10), nn.Linear(10, 10)
        self.o, self.head = nn.Linear(20, 10), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q = self.q(x).unflatten(2, (4, 5)).transpose(1, 2)
        k, v = (p(x).unflatten(2, (2, 5)).transpose(1, 2) for p in (self.k, self.v))
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.head(x + self.o(out.transpose(1, 2).flatten(2)))


class Residual(nn.Module):
    """A block with BatchNorm on a residual stream of channels."""

    def __init__(self, width: int = 6, inner: int = 8) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.first, self.inner = nn.Conv2d(width, inner, 3, padding=1), nn.BatchNorm2d(inner)
        self.second, self.outer = nn.Conv2d(inner, width, 3, padding=1), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.outer(self.second(F.relu(self.inner(self.first(x))))))
        return self.head(x.mean((2, 3)))


def _convolutions(groups: int, first: int = 8, second: int = 12) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, first, 3), nn.BatchNorm2d(first), nn.ReLU(),
        nn.Conv2d(first, second, 3, groups=groups), nn.ReLU(), nn.Flatten(),
        nn.Linear(second * 4, 3),
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "perceptron": (lambda: perceptron(4, 16, 16, 3), (4,)),
    "convolutions": (lambda: _convolutions(1), (3, 6, 6)),
    "residual": (Residual, (3, 6, 6)),
    "attention": (Attention, (4, 3)),
    "square": (lambda: Square(12), (3,)),
    "grouped": (lambda: _convolutions(4), (3, 6, 6)),
}
"""For each name what makes the network, and the shape of an example."""

TINY: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tiny perceptron": (lambda: perceptron(4, 3, 4, 3), (4,)),
    "tiny convolutions": (lambda: _convolutions(1, 3, 4), (3, 6, 6)),
    "tiny residual": (lambda: Residual(3, 4), (3, 6, 6)),
    "tiny attention": (Heads, (4, 3)),
    "tiny square": (Square, (3,)),
    "tiny grouped": (lambda: _convolutions(2, 4, 4), (3, 6, 6)),
}
"""The same with at most four units in a group, for matchers that look at many permutations."""


@dataclass(frozen=True)
class Problem:
    """A pair to be matched, and data.

    Args:
        symmetry: of both.
        model: the architecture, with parameters of its own.
        a, b: parameters and buffers.
        data: batches of inputs and classes drawn with the probabilities that A gives them: in
            the mean no network loses less than A.
        outputs: batches of inputs and what A makes of them: A loses nothing on these.
        planted: the permutation that made B of A, if one did.
    """

    symmetry: Symmetry
    model: nn.Module
    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]
    data: list[tuple[Tensor, Tensor]]
    outputs: list[tuple[Tensor, Tensor]]
    planted: Permutation | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters."""
        return tuple(name for name in self.symmetry.layouts if name not in self.symmetry.buffers)

    def inner_product(self, permutation: Permutation) -> float:
        """The similarity of A and the moved B, in float64."""
        moved = permutation.apply(self.b)
        return sum(float((self.a[n].double() * moved[n].double()).sum()) for n in self.names)

    def midpoint_loss(self, permutation: Permutation) -> float:
        """The mean squared distance of A's outputs and those halfway to the moved B."""
        return self._halfway(permutation, self.outputs, F.mse_loss)

    def midpoint_cross_entropy(self, permutation: Permutation) -> float:
        """The mean cross-entropy of the network halfway to the moved B."""
        return self._halfway(permutation, self.data, F.cross_entropy)

    def _halfway(self, permutation: Permutation, batches: Any, loss: Any) -> float:
        moved = permutation.apply(self.b)
        middle = {n: (t + moved[n]) / 2 if t.is_floating_point() else t for n, t in self.a.items()}
        losses = []
        for inputs, wanted in batches:
            with torch.no_grad():
                outputs = torch.func.functional_call(self.model, middle, inputs)
            losses.append(loss(outputs, wanted).double())
        return float(torch.stack(losses).mean())

    def share_in_place(self, permutation: Permutation) -> float:
        """The share of B's units that a permutation moves back to where they came from."""
        assert self.planted is not None
        there = (permutation @ self.planted).num_moved
        total = sum(index.numel() for index in permutation.indices.values())
        return 1 - sum(there.values()) / total


@cache
def _model(name: str) -> tuple[Symmetry, nn.Module, Tensor]:
    build, shape = (NETWORKS | TINY)[name]
    generator = torch.Generator().manual_seed(5)
    model = build().eval()
    inputs = torch.randn(2000 if name in TINY else 24, *shape, generator=generator)
    return infer_symmetry(model, inputs[:2]), model, inputs


def weights(name: str, seed: int) -> dict[str, Tensor]:
    """Return random parameters and positive statistics of a network."""
    _, model, _ = _model(name)
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for key, tensor in model.state_dict().items():
        fan = max(1, tensor[0].numel()) if tensor.dim() > 1 else 4
        drawn = torch.randn(tensor.shape, generator=generator) * fan**-0.5
        drawn = 2 * drawn if name in TINY else drawn
        drawn = 1 + drawn.abs() if key.endswith(("running_var", "norm.weight")) else drawn
        result[key] = drawn if tensor.is_floating_point() else tensor.clone()
    return result


def planted(name: str, seed: int = 1) -> Problem:
    """Return a network and a permuted copy."""
    symmetry, *_ = _model(name)
    a = weights(name, 0)
    permutation = Permutation.random(symmetry, seed=seed)
    return _problem(name, a, permutation.apply(a), permutation)


def unrelated(name: str) -> Problem:
    """Return two networks that have nothing in common."""
    return _problem(name, weights(name, 0), weights(name, 1))


def one_layer(size: int) -> Problem:
    """Return two perceptrons that have nothing in common, with one hidden layer of some units."""
    model = perceptron(3, size, 2)
    draw = torch.Generator().manual_seed(size)
    a, b = (
        {n: torch.randn(t.shape, generator=draw) for n, t in model.state_dict().items()}
        for _ in range(2)
    )
    return Problem(infer_symmetry(model, torch.zeros(2, 3)), model, a, b, [], [])


def best_of_one_layer(problem: Problem) -> float:
    """Return the greatest similarity over all orders of the one layer."""
    orders = permutations(range(problem.symmetry.groups["0"].size))
    moves = (Permutation(problem.symmetry, {"0": torch.tensor(order)}) for order in orders)
    return max(map(problem.inner_product, moves))


def _problem(name: str, a: Any, b: Any, permutation: Permutation | None = None) -> Problem:
    symmetry, model, inputs = _model(name)
    with torch.no_grad():
        outputs = torch.func.functional_call(model, a, inputs)
    shares = outputs.softmax(-1).reshape(-1, outputs.shape[-1])
    labels = shares.multinomial(1, generator=torch.Generator().manual_seed(6))
    labels = labels.reshape(outputs.shape[:-1])
    halves = [slice(0, len(inputs) // 2), slice(len(inputs) // 2, len(inputs))]
    data = [(inputs[half], labels[half]) for half in halves]
    wanted = [(inputs[half], outputs[half]) for half in halves]
    return Problem(symmetry, model, a, b, data, wanted, permutation)
