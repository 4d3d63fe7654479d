"""Layers: values inside a network at which features are measured, and their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from onebasin._checks import described
from onebasin.errors import ArgumentError
from onebasin.evaluation.features._batch_dims import BatchDim
from onebasin.graph._sites import NONLINEAR
from onebasin.graph.graph import FeatureNode, Graph

SHOWN = 8
"""Maximum number of layers in a message."""


@dataclass(frozen=True)
class Layer:
    """A value inside a network.

    Args:
        name: displayed name: the module's path and the operator, with a number if several values
            have the same name.
        node: name of the node in the graph.
        axis: batch dimension of the value.
    """

    name: str
    node: str
    axis: BatchDim


def names_of(graph: Graph) -> dict[str, str]:
    """Return a displayed name for every node, unique in the graph.

    It is the node's label. Nodes with one label, such as a functional `relu` or a module that is
    used twice, are numbered in the order of the forward pass: `relu#1`, `relu#2`.
    """
    counts = Counter(node.label for node in graph.nodes.values())
    seen: Counter[str] = Counter()
    names = {}
    for name, node in graph.nodes.items():
        seen[node.label] += 1
        number = f"#{seen[node.label]}" if counts[node.label] > 1 else ""
        names[name] = node.label + number
    return names


def find_layers(
    graph: Graph,
    axes: Mapping[str, BatchDim],
    patterns: Sequence[str] | None = None,
) -> list[Layer]:
    """Return the layers of a network, in the order of the forward pass.

    By default these are the values of operators with parameters (linear, convolution,
    normalization, embedding), of nonlinear functions, of sums of two streams (residual
    connections), and the outputs. With patterns, they are all values of the graph with a matching
    name.

    Args:
        graph: the traced model.
        axes: batch dimensions of the candidate values.
        patterns: shell patterns for names of layers, such as `layers.*` or `*relu*`.

    Raises:
        OneBasinError: the model has no layer, or a pattern matches none.
    """
    names = names_of(graph)
    layers = [Layer(names[node], node, axes[node]) for node in graph.nodes if node in axes]
    if patterns is None:
        kinds = _Kinds(graph)
        chosen = [layer for layer in layers if kinds.is_layer(graph.nodes[layer.node])]
    else:
        for pattern in patterns:
            _check_pattern(pattern, layers)
        chosen = [
            layer for layer in layers if any(fnmatchcase(layer.name, each) for each in patterns)
        ]
    if not chosen:
        raise ArgumentError(
            "no value inside the model has a batch dimension; pass batches with the "
            "examples in the first dimension"
        )
    return chosen


class _Kinds:
    """Kinds of the nodes of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.trained = _trained(graph.model)
        self.outputs = {node.name for node in graph.traced.exported.outputs}

    def is_layer(self, node: FeatureNode) -> bool:
        return (
            node.name in self.outputs
            or node.operator in NONLINEAR
            or self._takes_parameters(node)
            or self._joins(node)
        )

    def _takes_parameters(self, node: FeatureNode) -> bool:
        """Return whether a node has trained parameters, possibly reshaped."""
        if any(name in self.trained for name in node.parameters):
            return True
        fixed = (
            s
            for s in node.sources
            if s in self.graph.nodes and s not in self.graph.data_dependent_nodes
        )
        return any(self._takes_parameters(self.graph.nodes[source]) for source in fixed)

    def _joins(self, node: FeatureNode) -> bool:
        """Return whether a node adds two data-dependent values of the same shape."""
        shapes = self.graph.features.shapes
        same = [s for s in node.sources if shapes.get(s) == shapes[node.name]]
        return (
            node.operator == "add"
            and len(same) > 1
            and self.graph.data_dependent_nodes.issuperset(same)
        )


def _trained(model: nn.Module) -> set[str]:
    return {name for name, _ in model.named_parameters(remove_duplicate=False)}


def _check_pattern(pattern: str, layers: Sequence[Layer]) -> None:
    if not isinstance(pattern, str):
        raise ArgumentError(f"layer {described(pattern)} is not a name; pass a string")
    if not any(fnmatchcase(layer.name, pattern) for layer in layers):
        shown = ", ".join(layer.name for layer in layers[:SHOWN])
        rest = f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else ""
        raise ArgumentError(f"no layer matches {pattern!r}; the layers are {shown}{rest}")
