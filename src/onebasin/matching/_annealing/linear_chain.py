"""Linear chains: networks of linear layers with ReLU between them, found in the traced graph.

Also stores the first layer's values for all examples. A permutation only reorders them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.graph.features import BatchContext, Features
from onebasin.graph.graph import Call, Graph, MultiForwardHook
from onebasin.matching._annealing.evaluated import Examples
from onebasin.symmetry.layouts import Fixed, Layout, Units
from onebasin.symmetry.symmetry import Symmetry

UNCHANGED = frozenset({"dropout", "contiguous", "clone", "alias", "detach", "detach_", "identity"})
"""Operators that return their input in evaluation mode."""


@dataclass(frozen=True)
class Layer:
    """A linear layer.

    Args:
        node: name of its node in the graph.
        weight: name of its weight, `(units, inputs)`.
        bias: name of its bias, or None.
        group: group of its units; None if they are fixed.
    """

    node: str
    weight: str
    bias: str | None
    group: str | None


@dataclass(frozen=True, eq=False)
class LinearChain:
    """A network of linear layers and its examples.

    Args:
        layers: two or more layers; ReLU follows all except the last.
        inputs: inputs of the first layer.
        labels: classes.
    """

    layers: tuple[Layer, ...]
    inputs: Float32[Tensor, "n d"]
    labels: Int64[Tensor, " n"]

    def first_values(self, params: Mapping[str, Tensor]) -> Float32[Tensor, "u n"]:
        """Return a network's first layer before ReLU, by unit and example."""
        weight, bias = self.layer(params, 0)
        return torch.addmm(bias[:, None], weight, self.inputs.T)

    def layer(
        self, params: Mapping[str, Tensor], number: int
    ) -> tuple[Float32[Tensor, "u d"], Float32[Tensor, " u"]]:
        """Return weight and bias of a layer; a missing bias is 0."""
        layer = self.layers[number]
        weight = params[layer.weight].detach().cpu().float()
        if layer.bias is None:
            return weight, torch.zeros(len(weight))
        return weight, params[layer.bias].detach().cpu().float()


def find_chain(
    symmetry: Symmetry, params: Mapping[str, Tensor], examples: Examples
) -> LinearChain | None:
    """Return the linear chain of a model on its data, or None for another architecture.

    Args:
        symmetry: symmetry of the model; every group must be the units of one layer.
        params: any network of the architecture, on which the chain is compared with the graph.
        examples: the model and its labeled batches.
    """
    try:
        features = Features(examples.model, examples.batches)
        layers = find_layers(symmetry, features.graph)
        if layers is None:
            return None
        inputs, outputs = _run(features, layers[0].node, params)
    except OneBasinError:  # The model may run even if tracing fails.
        return None
    labels = torch.cat([labels.flatten() for _, labels in examples.batches]).cpu()
    if inputs.ndim != 2 or outputs.ndim != 2 or len(labels) != len(inputs):
        return None
    if not bool(((labels >= 0) & (labels < outputs.shape[1])).all()):
        return None  # Ignored labels need the full evaluation.
    chain = LinearChain(layers, inputs.float(), labels)
    return chain if _agrees(chain, params, outputs) else None


def find_layers(symmetry: Symmetry, graph: Graph) -> tuple[Layer, ...] | None:
    """Return the layers of a graph that is a chain, in forward order, or None."""
    live = {node.name for node in graph.traced.exported.live}
    weighed = [n for n in graph.nodes.values() if n.parameters and n.name in live]
    if len(weighed) < 2 or any(node.operator != "linear" for node in weighed):
        return None
    layers = []
    for place, node in enumerate(weighed):
        source = node.sources[0] if len(node.sources) == 1 else None
        num_relu = 0
        while place and source is not None and source != weighed[place - 1].name:
            before = graph.nodes.get(source)
            if before is None or before.operator not in {"relu", *UNCHANGED}:
                return None
            num_relu += before.operator == "relu"
            source = before.sources[0] if len(before.sources) == 1 else None
        if source is None or (place and not num_relu):
            return None
        weight, *bias = node.parameters
        group = _group(symmetry.layouts[weight][0])
        layers.append(Layer(node.name, weight, bias[0] if bias else None, group))
    return tuple(layers) if _fits(symmetry, layers) else None


def _group(layout: Layout) -> str | None:
    return layout.group if isinstance(layout, Units) else None


def _fits(symmetry: Symmetry, layers: Sequence[Layer]) -> bool:
    """Return whether each group belongs to one layer, in the positions of a chain."""
    groups = [layer.group for layer in layers if layer.group is not None]
    names = [n for layer in layers for n in (layer.weight, layer.bias) if n is not None]
    if set(groups) != set(symmetry.groups) or len(set(groups)) < len(groups):
        return False
    if len(set(names)) < len(names) or layers[-1].group is not None:
        return False
    before: str | None = None
    for layer in layers:
        expected = [(layer.weight, (layer.group, before))]
        expected += [] if layer.bias is None else [(layer.bias, (layer.group,))]
        for name, units in expected:
            layouts = symmetry.layouts[name]
            plain = all(isinstance(layout, Units | Fixed) for layout in layouts)
            if not plain or tuple(map(_group, layouts)) != units:
                return False
        before = layer.group
    return True


def _run(features: Features, node: str, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the inputs of a node and the outputs of the network, for all examples."""
    inputs, outputs = [], []

    def make_hook(context: BatchContext) -> MultiForwardHook:
        return lambda name, values: None

    def make_pre_hook(context: BatchContext) -> Any:
        def pre_hook(call: Call) -> None:
            if call.name == node:
                inputs.append(_kept(call.arguments[0][0][0].clone(), context.weight))

        return pre_hook

    def finish(context: BatchContext, results: list[list[Tensor]], batch: Any) -> None:
        outputs.append(_kept(results[0][0], context.weight))

    features.run([params], make_hook, make_pre_hook=make_pre_hook, finish=finish)
    return torch.cat(inputs).detach().cpu(), torch.cat(outputs).detach().cpu()


def _kept(values: Shaped[Tensor, " n *each"], weight: float) -> Shaped[Tensor, " m *each"]:
    """Return the values of the examples; a single example was duplicated."""
    return values if weight == 1 else values[:1]


def _agrees(
    chain: LinearChain, params: Mapping[str, Tensor], outputs: Float[Tensor, "n c"]
) -> bool:
    """Return whether the chain computes the outputs of the network."""
    values = chain.first_values(params)
    for number in range(1, len(chain.layers)):
        weight, bias = chain.layer(params, number)
        values = torch.addmm(bias[:, None], weight, values.relu_())
    outputs = outputs.float()
    scale = float(outputs.abs().max()) if outputs.numel() else 1.0
    return bool(torch.allclose(values.T, outputs, rtol=1e-3, atol=1e-3 * scale))
