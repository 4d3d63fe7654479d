"""Pairs of small networks, and their features by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.graph.networks import build

Params = dict[str, Tensor]


def pair(name: str) -> tuple[nn.Module, Params, Params, Tensor]:
    """A model, two sets of parameters for it, and a batch."""
    (model, inputs), (other, _) = build(name, 0), build(name, 1)
    return model, model.state_dict(), other.state_dict(), inputs


def between(a: Params, b: Params, alpha: float) -> Params:
    return {name: alpha * a[name] + (1 - alpha) * b[name] for name in a}


def mlp_features(params: Params, x: Tensor) -> dict[str, Tensor]:
    """The features of the network `mlp`, by hand."""
    first = x @ params["0.weight"].T + params["0.bias"]
    hidden = first.clamp(min=0)
    last = hidden @ params["2.weight"].T + params["2.bias"]
    return {"0.linear": first, "1.relu": hidden, "2.linear": last}


def cosines(x: Tensor, y: Tensor) -> Tensor:
    return 1 - (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))


def distances(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().sum(1) / (x.norm(dim=1) * y.norm(dim=1))


def labels_for(inputs: Tensor, classes: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(classes, (len(inputs),), generator=generator)
