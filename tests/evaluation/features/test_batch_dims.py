"""Axes: the dimension of the examples is result wherever a model puts it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from onebasin.evaluation.features._batch_dims import BatchDim, find_batch_dims
from onebasin.graph.features import Features
from onebasin.graph.graph import Graph
from tests.graph.networks import NETWORKS, build


class Shaped(nn.Module):
    """Inputs `(n, 6, 4)` put in another shape, then read by a linear layer."""

    def __init__(self, shape: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.shape, self.linear = shape, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.shape(x)).sum()[None]


SHAPES: dict[str, tuple[Callable[[Tensor], Tensor], BatchDim]] = {
    "first": (lambda x: x, BatchDim(0)),
    "sequence first": (lambda x: x.transpose(0, 1), BatchDim(1)),
    "merged": (lambda x: x.reshape(-1, 4), BatchDim(0)),
    "merged, examples fastest": (lambda x: x.transpose(0, 1).reshape(-1, 4), BatchDim(0, True)),
    "with one more": (lambda x: x[None], BatchDim(1)),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("num", [2, 3, 6])  # 6 is also the length of the sequence
def test_batch_dimension_is_found(name: str, num: int) -> None:
    shape, expected = SHAPES[name]
    torch.manual_seed(0)
    model, inputs = Shaped(shape).double(), torch.randn(num, 6, 4, dtype=torch.float64)
    graph = Graph(model, inputs)
    result = find_batch_dims(graph, model.state_dict(), inputs)
    assert result["linear"] == expected
    values: dict[str, Tensor] = {}
    graph.run(model.state_dict(), inputs, values.__setitem__)
    cut = result["linear"].by_example(values["linear"], num)
    expected = torch.stack([model.linear(each).flatten() for each in inputs])
    torch.testing.assert_close(cut, expected)
    assert "sum" not in result, "a sum over all examples has no axis"


@pytest.mark.parametrize("name", NETWORKS)
def test_common_networks_have_the_batch_dimension_first(name: str) -> None:
    model, inputs = build(name)
    graph = Graph(model, inputs)
    result = find_batch_dims(graph, model.state_dict(), inputs)
    floating = {n for n in graph.nodes if n in graph.data_dependent_nodes}
    assert result == dict.fromkeys(result, BatchDim(0))
    assert result.keys() == floating


def test_single_example_has_a_batch_dimension() -> None:
    model = Shaped(lambda x: x.transpose(0, 1)).double()
    features = Features(model, [torch.randn(1, 6, 4, dtype=torch.float64)])
    result = find_batch_dims(features.graph, model.state_dict(), features.first)
    assert result["linear"] == BatchDim(1)


def test_dead_units_do_not_hide_the_batch_dimension() -> None:
    model, inputs = build("mlp")
    params = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    graph = Graph(model, inputs)
    assert find_batch_dims(graph, params, inputs) == dict.fromkeys(graph.nodes, BatchDim(0))
