"""Graphs: the features of a permuted network are the permuted features of the network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin.graph.graph import Graph
from onebasin.symmetry._apply import IndexApplier
from tests.graph.networks import NETWORKS, build


def features(graph: Graph, params: dict[str, Tensor], inputs: object) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    graph.run(params, inputs, lambda name, value: seen.__setitem__(name, value.clone()))
    return seen


@pytest.mark.parametrize("name", NETWORKS)
def test_features_move_with_the_units(name: str) -> None:
    model, inputs = build(name)
    graph = Graph(model, inputs)
    permutation = Permutation.random(graph.symmetry, seed=1)
    before = features(graph, model.state_dict(), inputs)
    after = features(graph, permutation.apply(model.state_dict()), inputs)
    mover = IndexApplier(graph.features, permutation.indices)
    moved = 0
    for node, value in before.items():
        torch.testing.assert_close(
            mover.apply_to_tensor(node, value), after[node], rtol=1e-9, atol=1e-9
        )
        moved += not torch.allclose(value, after[node]) if value.is_floating_point() else 0
    assert moved > 0, "nothing moved: the test would pass with wrong layouts"
    assert before.keys() == graph.nodes.keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_computes_the_model(name: str) -> None:
    model, inputs = build(name)
    graph = Graph(model, inputs)
    with torch.no_grad():
        expected = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    torch.testing.assert_close(graph.run(model.state_dict(), inputs)[0], expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_match_infer_symmetry(name: str) -> None:
    model, inputs = build(name)
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    assert Graph(model, inputs).symmetry.fingerprint == infer_symmetry(model, args).fingerprint


def test_other_parameters_run_through_the_same_graph() -> None:
    model, inputs = build("mlp")
    graph = Graph(model, inputs)
    doubled = {name: 2 * tensor for name, tensor in model.state_dict().items()}
    (first,), (second,) = graph.run(model.state_dict(), inputs), graph.run(doubled, inputs)
    assert not torch.allclose(first, second)
    model.load_state_dict(doubled)
    torch.testing.assert_close(second, model(inputs))


def test_nodes_have_labels_and_parameters() -> None:
    model, inputs = build("mlp")
    nodes = list(Graph(model, inputs).nodes.values())
    assert [node.operator for node in nodes] == ["linear", "relu", "linear"]
    assert [node.module for node in nodes] == ["0", "1", "2"]
    assert nodes[0].parameters == ("0.weight", "0.bias")
    assert nodes[1].sources == (nodes[0].name,)
    assert nodes[2].label == "2.linear"


def test_batch_of_another_shape_is_rejected() -> None:
    model, inputs = build("mlp")
    graph = Graph(model, inputs)
    with pytest.raises(OneBasinError, match=r"shapes \(\(3, 5\),\), the graph was made for"):
        graph.run(model.state_dict(), torch.zeros(3, 5))


def test_parameters_of_another_model_are_rejected() -> None:
    model, inputs = build("mlp")
    with pytest.raises(OneBasinError, match=r"'0\.bias' is missing"):
        Graph(model, inputs).run({"0.weight": model.state_dict()["0.weight"]}, inputs)


def test_model_is_not_changed() -> None:
    model, inputs = build("conv_net")
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = inputs.clone()
    graph = Graph(model, inputs)
    graph.run({name: tensor + 1 for name, tensor in before.items()}, inputs)
    assert model.training
    assert torch.equal(inputs, given)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_tied_weights_may_be_given_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).double()
    model[2].weight = model[0].weight
    inputs = torch.randn(3, 4, dtype=torch.float64)
    params = {name: t for name, t in model.state_dict().items() if name != "2.weight"}
    torch.testing.assert_close(Graph(model, inputs).run(params, inputs)[0], model(inputs))


@pytest.mark.parametrize("name", ["residual", "transformer"])
def test_checkpoints_of_higher_precision_run_in_their_precision(name: str) -> None:
    model, inputs = build(name)
    params = model.state_dict()
    expected = model(inputs)
    narrow = inputs.float() if inputs.is_floating_point() else inputs
    (found,) = Graph(model.float(), narrow).run(params, narrow)
    assert found.dtype == torch.float64
    if narrow is inputs:
        torch.testing.assert_close(found, expected)
    else:
        (expected,) = Graph(model.double(), inputs).run(params, narrow.double())
        assert torch.equal(found, expected)


def test_error_on_invalid_data_names_the_node() -> None:
    model, inputs = build("mlp")
    graph = Graph(model, inputs)
    with pytest.raises(OneBasinError, match=r"at '0\.linear': .*same dtype.*; pass data") as raised:
        graph.run(model.state_dict(), inputs.long())
    assert "\n" not in str(raised.value)


class Writing(nn.Module):
    """A model that writes into its input and into a buffer."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 2)
        self.register_buffer("seen", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        nn.functional.dropout(x, training=self.training).flatten(1).mul_(2)
        hidden = torch.relu(self.first(x))
        self.seen.add_(hidden.mean(0))
        return self.second(hidden + self.seen)


def test_tensors_that_the_model_writes_to_are_copied() -> None:
    model, inputs = Writing().eval(), torch.randn(4, 5)
    params = {name: value.detach().clone() for name, value in model.state_dict().items()}
    batch = inputs.clone()
    found = Graph(model, batch).run_lockstep([params, params], batch)
    assert torch.equal(batch, inputs)
    assert not params["seen"].any()
    expected = model(inputs.clone())
    for outputs in found:
        torch.testing.assert_close(outputs[0], expected)


class Named(nn.Module):
    """A model of two tensors and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, y: Tensor, factor: int = 1) -> Tensor:
        return self.second(torch.relu(self.first(x) - factor * y.mean(1, keepdim=True)))


def test_keyword_inputs_may_come_in_any_order() -> None:
    model, x, y = Named(), torch.randn(4, 5), torch.randn(4, 5)
    for inputs in ({"x": x, "y": y}, {"y": y, "x": x}):
        graph = Graph(model, inputs)
        for batch in ({"x": x, "y": y}, {"y": y, "x": x}):
            torch.testing.assert_close(graph.run(model.state_dict(), batch)[0], model(x, y))


def test_graph_is_specialized_to_non_tensor_inputs() -> None:
    model, x = Named(), torch.randn(4, 5)
    graph = Graph(model, (x, x, 2))
    with pytest.raises(OneBasinError, match=r"the batch has shapes .*'3'.* made for .*'2'"):
        graph.run(model.state_dict(), (x, x, 3))
