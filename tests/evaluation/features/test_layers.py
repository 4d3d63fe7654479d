"""Layers: which values of a graph count, and what people call them."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from onebasin.checkpoints.architectures import MLP
from onebasin.errors import OneBasinError
from onebasin.evaluation.features._batch_dims import BatchDim
from onebasin.evaluation.features._layers import find_layers
from onebasin.graph.graph import Graph
from tests.graph.networks import build


def layers(model: nn.Module, inputs: Tensor, patterns: list[str] | None = None) -> list[str]:
    graph = Graph(model, inputs)
    axes = {node: BatchDim() for node in graph.nodes if node in graph.data_dependent_nodes}
    return [layer.name for layer in find_layers(graph, axes, patterns)]


def test_equal_names_are_numbered() -> None:
    import torch

    assert layers(MLP(depth=2, width=4), torch.zeros(3, 64)) == [
        "layers.0.linear",
        "relu#1",
        "layers.1.linear",
        "relu#2",
        "layers.2.linear",
    ]


def test_default_layers_are_parameters_nonlinearities_and_sums() -> None:
    assert layers(*build("conv_net")) == [
        "0.conv2d",
        "1.batch_norm",
        "2.relu",
        "5.linear",
        "6.tanh",
        "7.linear",
    ]
    result = layers(*build("residual"))
    assert result[-3:] == ["add", "relu#3", "head.linear"]
    assert "mean" not in result
    assert layers(*build("transformer")) == [
        "embedding.embedding",
        "norm.layer_norm",
        "qkv.linear",
        "out.linear",
        "add#1",
        "gate.linear",
        "glu",
        "down.linear",
        "add#2",
        "head.linear",
    ]


def test_patterns_select_from_all_values() -> None:
    assert layers(*build("conv_net"), ["[0-5].*"]) == [
        "0.conv2d",
        "1.batch_norm",
        "2.relu",
        "3.max_pool2d",
        "4.flatten",
        "5.linear",
    ]
    assert layers(*build("mlp"), ["*relu*", "2.*"]) == ["1.relu", "2.linear"]
    assert len(layers(*build("transformer"), ["*"])) == 22


def test_pattern_without_match_lists_the_layers() -> None:
    with pytest.raises(OneBasinError) as caught:
        layers(*build("mlp"), ["1.relu", "3.*"])
    assert str(caught.value) == (
        "no layer matches '3.*'; the layers are 0.linear, 1.relu, 2.linear"
    )
    with pytest.raises(OneBasinError, match=r"and 14 more$"):
        layers(*build("transformer"), ["nothing"])


def test_model_without_examples_is_rejected() -> None:
    graph = Graph(*build("mlp"))
    with pytest.raises(OneBasinError, match=r"^no value inside the model has a batch"):
        find_layers(graph, {})
