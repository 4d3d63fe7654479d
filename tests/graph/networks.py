"""Small networks of every kind, in float64 and evaluation mode, with a batch each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """Two blocks with BatchNorm on a residual stream, activations in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(6, 8, 3, padding=1)
        self.inner = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 3, padding=1)
        self.outer = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        x = F.relu(x + self.outer(self.second(F.relu(self.inner(self.first(x))))))
        return self.head(x.mean((2, 3)))


class Transformer(nn.Module):
    """One layer of attention with heads, then a gated layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 12)
        self.norm = nn.LayerNorm(12)
        self.qkv = nn.Linear(12, 36)
        self.out = nn.Linear(12, 12)
        self.gate = nn.Linear(12, 20)
        self.down = nn.Linear(10, 12)
        self.head = nn.Linear(12, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        q, k, v = (t.unflatten(-1, (3, 4)).transpose(1, 2) for t in (q, k, v))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.head(x + self.down(F.glu(self.gate(x))))


def _conv_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 16, 10),
        nn.Tanh(),
        nn.Linear(10, 4),
    )


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


def _images() -> Tensor:
    return torch.randn(4, 3, 8, 8, dtype=torch.float64)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mlp": (_mlp, lambda: torch.randn(6, 5, dtype=torch.float64)),
    "conv_net": (_conv_net, _images),
    "residual": (Residual, _images),
    "transformer": (Transformer, lambda: torch.randint(11, (4, 6))),
}
"""For each name what makes the network, and what makes a batch for it."""


def build(name: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Return a network with random statistics, and a batch; the batch is the same always."""
    network, batch = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 + seed)
        model = network().double().eval()
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
        torch.manual_seed(7)
        return model, batch()
