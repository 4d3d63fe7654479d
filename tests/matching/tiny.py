"""Tiny networks whose permutations can all be looked at, with labeled examples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from onebasin import Symmetry, infer_symmetry

Params = dict[str, Tensor]


def perceptron(*sizes: int) -> nn.Sequential:
    layers = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Heads(nn.Module):
    """Two heads of two channels each: a nested group."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(3, 4)
        self.o = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (p(x).view(len(x), -1, 2, 2).transpose(1, 2) for p in (self.q, self.k, self.v))
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.o(attended.transpose(1, 2).flatten(2)).mean(1)


class Square(nn.Module):
    """A residual stream through a square matrix: a group on both its sides."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, size), nn.Linear(size, size), nn.Linear(size, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(x + self.b(torch.relu(x)))


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
    )


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "one layer": (lambda: perceptron(3, 5, 3), (3,)),
    "three units": (lambda: perceptron(3, 3, 3), (3,)),
    "two layers": (lambda: perceptron(3, 3, 4, 3), (3,)),
    "three layers": (lambda: perceptron(3, 3, 2, 3, 3), (3,)),
    "heads": (Heads, (4, 3)),
    "square": (Square, (3,)),
    "convolution": (convolution, (1, 3, 3)),
}


def tiny(name: str, num_networks: int = 2) -> tuple[nn.Module, Symmetry, list[Params], Any]:
    """Return a model, its symmetry, networks of it, and two batches that it was made for."""
    build, shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        networks = []
        for seed in range(num_networks):
            torch.manual_seed(seed)
            model = build().eval()
            networks.append({n: 2 * t for n, t in model.state_dict().items()})
        torch.manual_seed(100)
        inputs = torch.randn(60, *shape)
        labels = torch.randint(3, (60,))
    model = build().eval()
    data = [(inputs[:40], labels[:40]), (inputs[40:], labels[40:])]
    return model, infer_symmetry(model, inputs[:2]), networks, data
