"""Sites: where the units of a group are seen, before and after their nonlinearity."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from onebasin.graph._sites import Position, find_sites
from onebasin.graph.graph import Graph
from tests.graph.networks import build


def labels(graph: Graph, position: Position = "post") -> dict[str, list[str]]:
    return {
        group: [graph.nodes[node].label for node in nodes]
        for group, nodes in find_sites(graph, position).items()
    }


def of(name: str, position: Position = "post") -> dict[str, list[str]]:
    return labels(Graph(*build(name)), position)


def test_sites_of_an_mlp_are_before_and_after_relu() -> None:
    assert of("mlp") == {"0": ["1.relu"]}
    assert of("mlp", "pre") == {"0": ["0.linear"]}


def test_sites_of_channels_are_inputs_of_the_next_layer() -> None:
    assert of("conv_net") == {"0": ["4.flatten"], "5": ["6.tanh"]}
    assert of("conv_net", "pre") == {"0": ["1.batch_norm"], "5": ["5.linear"]}


def test_residual_stream_has_a_site_at_every_reader() -> None:
    graph = Graph(*build("residual"))
    sites = find_sites(graph)
    # Read by the first convolution after the stem, and by the head after pooling.
    assert [graph.nodes[node].label for node in sites["stem"]] == ["relu", "mean"]
    assert [graph.readers[node] for node in sites["first"]] == [("conv2d_2",)]
    assert labels(graph, "pre") == {
        "stem": ["norm.batch_norm", "add"],
        "first": ["inner.batch_norm"],
    }


def test_attention_has_a_site_before_its_projection() -> None:
    sites = of("transformer")
    assert sites["embedding"] == ["norm.layer_norm", "add", "add"]
    assert sites["gate[0]"] == ["glu"]
    assert sites["qkv[2].inner"] == ["flatten"]


class Net(nn.Module):
    """A hidden layer, and a function of it and of a way out without bias."""

    def __init__(self, function: Callable[[Tensor, nn.Module], Tensor], out: nn.Module) -> None:
        super().__init__()
        self.into, self.out, self.function = nn.Linear(5, 8), out, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(F.relu(self.into(x)), self.out)


def test_computed_weights_count_as_weights() -> None:
    def function(h: Tensor, out: nn.Module) -> Tensor:
        return out(h) + (h * 2).sum(-1, keepdim=True)

    for out in (nn.Linear(8, 3, bias=False), weight_norm(nn.Linear(8, 3, bias=False))):
        graph = Graph(Net(function, out), torch.randn(4, 5))
        assert labels(graph)["into"] == ["relu"], type(out.weight)


def test_value_read_without_weights_is_the_last_choice() -> None:
    graph = Graph(
        Net(lambda h, out: out(h.sum(-1, keepdim=True)), nn.Linear(1, 3)), torch.ones(4, 5)
    )
    assert labels(graph)["into"] == ["relu"]


def test_group_without_features_has_no_site() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = (nn.Parameter(torch.randn(6, 6)) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            return x @ (self.left @ self.right)

    graph = Graph(Folded(), torch.randn(4, 6))
    assert list(find_sites(graph).values()) == [()]
    assert list(find_sites(graph, "pre").values()) == [()]


def test_site_of_an_in_place_value_is_its_last_writer() -> None:
    def function(h: Tensor, out: nn.Module) -> Tensor:
        return out(h.mul_(2).add_(1))

    graph = Graph(Net(function, nn.Linear(8, 3)), torch.randn(4, 5))
    assert labels(graph)["into"] == ["add"]
    assert labels(graph, "pre") == {"into": ["into.linear"]}
