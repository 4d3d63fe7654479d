"""Layers: rows times a weight are one, whatever else an operator can do is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebasin import Permutation, infer_symmetry
from onebasin.graph.features import Features
from onebasin.matching import Matching, match_commutativity, match_functional_difference
from onebasin.matching._features.layers import find_layers

Hidden = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """A network whose hidden layer is made by one operator of PyTorch, `(n, 6)`."""

    def __init__(self, hidden: Hidden, weight: tuple[int, int], bias: tuple[int, ...]) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(weight, generator=draw))
        self.bias = nn.Parameter(torch.randn(bias, generator=draw))
        self.hidden, self.head = hidden, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self, x)))


LAYERS = {
    "linear": Net(lambda net, x: F.linear(x, net.weight, net.bias), (6, 4), (6,)),
    "addmm": Net(lambda net, x: torch.addmm(net.bias, x, net.weight), (4, 6), (6,)),
}
OTHERS = {
    "addmm, weight first": Net(
        lambda net, x: torch.addmm(net.bias, net.weight, x.T).T, (6, 4), (6, 1)
    ),
    "linear, weight first": Net(lambda net, x: F.linear(net.weight, x).T + net.bias, (6, 4), (6,)),
    "a product of parameters": Net(
        lambda net, x: torch.addmm(x[:, :1], net.weight, net.bias), (9, 4), (4, 6)
    ),
    "twice the product": Net(
        lambda net, x: torch.addmm(net.bias, x, net.weight, alpha=2), (4, 6), (6,)
    ),
    "half the bias": Net(
        lambda net, x: torch.addmm(net.bias, x, net.weight, beta=0.5), (4, 6), (6,)
    ),
}


def weights_of(net: Net) -> list[str]:
    features = Features(net, [batch()])
    return [layer.weight for layer in find_layers(features.graph, features.graph.symmetry)]


def batch() -> Tensor:
    return torch.randn(9, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", LAYERS)
def test_products_of_rows_and_weights_are_layers(name: str) -> None:
    assert weights_of(LAYERS[name]) == ["weight", "head.weight"]


@pytest.mark.parametrize("name", OTHERS)
def test_other_products_are_not_layers(name: str) -> None:
    assert weights_of(OTHERS[name]) == ["head.weight"]


@pytest.mark.parametrize("match", [match_functional_difference, match_commutativity])
@pytest.mark.parametrize("name", LAYERS | OTHERS)
def test_planted_permutation_is_recovered(name: str, match: Callable[..., Matching]) -> None:
    net, x = (LAYERS | OTHERS)[name], batch()
    symmetry, a = infer_symmetry(net, x), net.state_dict()
    b = Permutation.random(symmetry, seed=2).apply(a)
    result = match(symmetry, a, b, model=net, data=[x])
    moved = result.permutation.apply(b)
    assert all(torch.equal(moved[name], a[name]) for name in a)
