"""Linear chains: networks of linear layers with ReLU between, found in the traced graph.

Owns their recognition, whatever the module looks like, and what annealing keeps of them: the
first layer's values for all examples, which no permutation changes but in order.
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
from onebasin.matching._annealing.examples import Examples
from onebasin.symmetry.layouts import Fixed, Layout, Units
from onebasin.symmetry.symmetry import Symmetry

UNCHANGED = frozenset({"dropout", "contiguous", "clone", "alias", "detach", "detach_", "identity"})
"""Operators that give what they take, in evaluation mode."""


@dataclass(frozen=True)
class Layer:
    """A linear layer.

    Args:
        node: name of its node in the graph.
        weight: name of its weight, `(units, inputs)`.
        bias: name of its bias, if it has one.
        group: of its units; None where they are fixed.
    """

    node: str
    weight: str
    bias: str | None
    group: str | None


@dataclass(frozen=True, eq=False)
class LinearChain:
    """A network of linear layers, and what it is run on.

    Args:
        layers: at least two; ReLU follows all but the last.
        inputs: of the first layer.
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
    """Return the chain that a model is on its data, or None where it is no such network.

    Args:
        symmetry: every group must be that of the units of one layer.
        params: any network of the architecture; the chain is run against the graph with it.
        examples: the model and its labeled batches.
    """
    try:
        features = Features(examples.model, examples.batches, call=examples.call)
        layers = find_layers(symmetry, features.graph)
        if layers is None:
            return None
        inputs, outputs = _run(features, layers[0].node, params)
    except OneBasinError:  # What the graph refuses, the model may still be able to do.
        return None
    labels = torch.cat([labels.flatten() for _, labels in examples.batches]).cpu()
    if inputs.ndim != 2 or outputs.ndim != 2 or len(labels) != len(inputs):
        return None
    if not bool(((labels >= 0) & (labels < outputs.shape[1])).all()):
        return None  # Labels that do not count are left to the full evaluation.
    chain = LinearChain(layers, inputs.float(), labels)
    return chain if _agrees(chain, params, outputs) else None


def find_layers(symmetry: Symmetry, graph: Graph) -> tuple[Layer, ...] | None:
    """Return the layers of a graph that is a chain, first one first, or None."""
    live = {node.name for node in graph.traced.exported.live}
    weighed = [n for n in graph.nodes.values() if n.parameters and n.name in live]
    if len(weighed) < 2 or any(node.operator != "linear" for node in weighed):
        return None
    layers = []
    for place, node in enumerate(weighed):
        source = node.sources[0] if len(node.sources) == 1 else None
        bends = 0
        while place and source is not None and source != weighed[place - 1].name:
            before = graph.nodes.get(source)
            if before is None or before.operator not in {"relu", *UNCHANGED}:
                return None
            bends += before.operator == "relu"
            source = before.sources[0] if len(before.sources) == 1 else None
        if source is None or (place and not bends):
            return None
        weight, *bias = node.parameters
        group = _group(symmetry.layouts[weight][0])
        layers.append(Layer(node.name, weight, bias[0] if bias else None, group))
    return tuple(layers) if _fits(symmetry, layers) else None


def _group(layout: Layout) -> str | None:
    return layout.group if isinstance(layout, Units) else None


def _fits(symmetry: Symmetry, layers: Sequence[Layer]) -> bool:
    """Tell whether each group is that of one layer, and lies where a chain has it."""
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
    """Return what enters a node, and what the network puts out, for all examples."""
    inputs, outputs, shares = [], [], []

    def visit_of(passage: BatchContext) -> MultiForwardHook:
        shares.append(passage.weight)
        return lambda name, values: None

    def enter_of(passage: BatchContext) -> Any:
        def enter(call: Call) -> None:
            if call.name == node:
                inputs.append(_kept(call.arguments[0][0][0].clone(), passage.weight))

        return enter

    def finish(found: list[list[Tensor]], batch: Any) -> None:
        outputs.append(_kept(found[0][0], shares[-1]))

    features.run([params], visit_of, enter=enter_of, finish=finish)
    return torch.cat(inputs).detach().cpu(), torch.cat(outputs).detach().cpu()


def _kept(values: Shaped[Tensor, " n *each"], weight: float) -> Shaped[Tensor, " m *each"]:
    """Return the values of the examples there are; a lone one was doubled."""
    return values if weight == 1 else values[:1]


def _agrees(
    chain: LinearChain, params: Mapping[str, Tensor], outputs: Float[Tensor, "n c"]
) -> bool:
    """Tell whether the layers, run one after the other, are the network."""
    values = chain.first_values(params)
    for number in range(1, len(chain.layers)):
        weight, bias = chain.layer(params, number)
        values = torch.addmm(bias[:, None], weight, values.relu_())
    outputs = outputs.float()
    scale = float(outputs.abs().max()) if outputs.numel() else 1.0
    return bool(torch.allclose(values.T, outputs, rtol=1e-3, atol=1e-3 * scale))
