"""Layers that can be refit: nodes that multiply features by a parameter, and norms."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from onebasin.evaluation._refit.norms import TENSORS
from onebasin.evaluation._refit.operators import Convolution, Dense, Embedding, Operator, Scale
from onebasin.graph._nodes import named_arguments, origins, shared
from onebasin.graph._nodes import operator_of as node_operator
from onebasin.graph.binding import first_names
from onebasin.graph.graph import FeatureNode, Graph
from onebasin.symmetry._inference.export import is_getitem

DENSE = {
    "linear": ("input", "weight", "bias", False),
    "addmm": ("mat1", "mat2", "self", True),
    "matmul": ("self", "other", None, True),
    "mm": ("self", "mat2", None, True),
}
"""Arguments of the rows, the weight and the bias, and whether the weight is `(in, out)`."""

CONVOLUTIONS = {
    "conv1d": 1, "conv2d": 2, "conv3d": 3,
    "conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3,
}  # fmt: skip
"""Number of dimensions of each kind of convolution."""

MAX_UNKNOWNS = 5000
"""Maximum number of inputs of a layer that are refit together; others are refit in blocks."""

UNSUPPORTED = {
    "bmm", "baddbmm", "einsum", "bilinear", "mv", "dot", "lstm", "gru", "rnn_tanh", "rnn_relu",
}  # fmt: skip
"""Operators that multiply by parameters and are not refit."""

VIEWS = {
    "t", "transpose", "permute", "view", "squeeze", "unsqueeze", "select", "slice", "narrow",
    "split", "split_with_sizes", "chunk", "tensor_split", "unbind",
}  # fmt: skip
"""Operators whose values always share the memory of their input."""

NORMS = {"layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm"}
"""Norms with a scale for each unit."""


@dataclass(frozen=True)
class RefitLayer:
    """A layer that is refit, alone or together with the BatchNorm that reads it.

    Args:
        node: name of its node.
        label: displayed name.
        target: name of the node whose value is matched: the node itself or the norm.
        weight: argument of the node with the weight; None for a BatchNorm on its own.
        bias: argument of the node with the bias; None if it has none.
        norm: name of the BatchNorm node that is refit with the layer, or None.
        num_inputs: number of inputs of each output.
    """

    node: str
    label: str
    target: str
    weight: str | None
    bias: str | None
    norm: str | None = None
    num_inputs: int = 1

    def blocks(self, most: int) -> list[slice]:
        """Return the ranges of the inputs that are refit together.

        Args:
            most: maximum number of inputs in a range.
        """
        number = -(-self.num_inputs // most)
        size = -(-self.num_inputs // number)
        return [slice(i * size, min((i + 1) * size, self.num_inputs)) for i in range(number)]


def find_layers(graph: Graph) -> tuple[list[RefitLayer], dict[str, str]]:
    """Return the layers in the order of the forward pass, and reasons for others by label.

    Args:
        graph: the traced model.
    """
    finder = _Finder(graph)
    layers, skipped = [], {}
    folded: set[str] = set()
    for node in graph.nodes.values():
        if node.name in folded or node.name not in graph.data_dependent_nodes:
            continue
        found = finder.layer(node)
        if isinstance(found, RefitLayer):
            layers.append(found)
            folded.add(found.target)
        elif found is not None:
            skipped[node.label] = found
    nodes = {layer.node for layer in layers}
    layers = _with_unique_labels([finder.with_sum(layer, nodes) for layer in layers])
    return layers, skipped


def _with_unique_labels(layers: list[RefitLayer]) -> list[RefitLayer]:
    """Return layers whose labels contain the node if several layers have the same label."""
    counts = Counter(layer.label for layer in layers)
    return [
        replace(layer, label=f"{layer.label} ({layer.node})") if counts[layer.label] > 1 else layer
        for layer in layers
    ]


class _Finder:
    """Finds the layers of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.first = first_names(graph.model)
        self.uses: dict[str, list[torch.fx.Node]] = defaultdict(list)
        for name in graph.nodes:
            node = graph.calls[name]
            if name in graph.data_dependent_nodes:
                for source in node.all_input_nodes:
                    if source.name not in graph.data_dependent_nodes:
                        for root in self._parameters(source):
                            self.uses[root].append(source)

    def layer(self, node: FeatureNode) -> RefitLayer | str | None:
        """Return the layer of a node, the reason why it cannot be refit, or None."""
        given = self._arguments(node.name)
        if node.operator in UNSUPPORTED and node.parameters:
            return f"the operator {node.operator} is not refit"
        names = _tensor_arguments(node.operator)
        if names is None:
            return None
        source, weight, bias = names
        if not self._depends(given.get(source)):
            return "its weight is the first factor" if self._depends(given.get(weight)) else None
        if node.operator == "batch_norm":
            return self._batch_norm(node, given)
        if not isinstance(given.get(weight), torch.fx.Node) or self._depends(given[weight]):
            return None
        if node.operator in DENSE and given[weight].meta["val"].dim() != 2:
            return "its weight is not a matrix"
        if given.get("alpha", 1) != 1 or given.get("beta", 1) != 1:
            return "its summands have factors"
        bias = bias if bias and isinstance(given.get(bias), torch.fx.Node) else None
        for name in (weight, bias):
            reason = None if name is None else self._reason(given[name])
            if reason is not None:
                return reason
        num_inputs = _num_inputs(node.operator, given[weight].meta["val"].shape, given)
        # Statistics of a layer that is refit in blocks are not known.
        norm = self._norm_of(node) if num_inputs <= MAX_UNKNOWNS else None
        return RefitLayer(
            node=node.name,
            label=node.label,
            target=norm or node.name,
            weight=weight,
            bias=bias,
            norm=norm,
            num_inputs=num_inputs,
        )

    def _batch_norm(self, node: FeatureNode, given: Mapping[str, Any]) -> RefitLayer | str | None:
        for name in TENSORS:
            if not isinstance(given.get(name), torch.fx.Node):
                return "it has no scale and shift" if name in ("weight", "bias") else None
            if given[name].op != "placeholder":
                return "its tensors are computed from parameters"
            reason = self._reason(given[name])
            if reason is not None:
                return reason
        return RefitLayer(node.name, node.label, node.name, None, None, node.name)

    def _norm_of(self, node: FeatureNode) -> str | None:
        """Return the BatchNorm that alone reads a layer."""
        if node.operator in NORMS:
            return None
        readers = self.graph.readers[node.name]
        if len(readers) != 1 or self.graph.nodes[readers[0]].operator != "batch_norm":
            return None
        norm = self.graph.nodes[readers[0]]
        between = self._between(node.name, norm.name)
        is_layer = any(
            _tensor_arguments(self.graph.nodes[name].operator) is not None
            for name in between - {norm.name}
            if name in self.graph.nodes
        )
        if is_layer or self._overwrites(node.name, between):
            return None
        dims = self.graph.calls[node.name].meta["val"].dim()
        if node.operator in DENSE and dims != 2:
            return None
        found = self._batch_norm(norm, self._arguments(norm.name))
        return norm.name if isinstance(found, RefitLayer) else None

    def _arguments(self, name: str) -> dict[str, Any]:
        node = self.graph.calls[name]
        return named_arguments(node, node.args, dict(node.kwargs))

    def with_sum(self, layer: RefitLayer, layers: set[str]) -> RefitLayer:
        """Return a layer whose target is the sum that alone reads it, such as a residual sum.

        The layer then also compensates for the error of the other summand. All nodes up to the
        sum are run twice for the merged network, so they must not overwrite earlier values.

        Args:
            layer: the layer.
            layers: nodes of all layers; a sum after another layer is not a target.
        """
        readers = self.graph.readers[layer.target]
        if len(readers) != 1 or self.graph.nodes[readers[0]].operator != "add":
            return layer
        total, own = self.graph.calls[readers[0]], self.graph.calls[layer.target]
        between = self._between(layer.node, total.name)
        if (
            layers & between
            or self._overwrites(layer.node, between)
            or len(set(total.all_input_nodes)) < 2
            or total.kwargs.get("alpha", 1) != 1
            or total.meta["val"].shape != own.meta["val"].shape
            or not all(map(self._depends, total.all_input_nodes))
        ):
            return layer
        return replace(layer, target=total.name)

    def _between(self, first: str, last: str) -> set[str]:
        """Return the nodes after the first node, up to the last one."""
        order = list(self.graph.calls)
        return set(order[order.index(first) + 1 : order.index(last) + 1])

    def _overwrites(self, layer: str, nodes: set[str]) -> bool:
        """Return whether nodes overwrite values from before a layer."""
        new = {layer, *nodes}
        written = (
            source
            for name in nodes
            for source in shared(self.graph.calls[name], lambda alias: alias and alias.is_write)
        )
        return any(memory.name not in new for source in written for memory in _memory(source))

    def _depends(self, value: Any) -> bool:
        return isinstance(value, torch.fx.Node) and value.name in self.graph.data_dependent_nodes

    def _reason(self, source: torch.fx.Node) -> str | None:
        """Return the reason why a tensor cannot be changed, or None."""
        if not self._is_part(source):
            return "its weight is computed from parameters"
        (root,) = self._roots(source)
        uses = self.uses[root]
        parts = {use.all_input_nodes[0] for use in uses if is_getitem(use)}
        is_split = len(parts) == 1 and len(set(uses)) == len(uses) and all(map(is_getitem, uses))
        if len(uses) > 1 and not is_split:
            return "its parameters are used more than once"
        return None

    def _is_part(self, source: torch.fx.Node) -> bool:
        """Return whether a tensor is a parameter or a part of one, in the same memory."""
        while source.op != "placeholder":
            if not (is_getitem(source) or node_operator(source) in VIEWS):
                return False
            (source,) = source.all_input_nodes
        return source.name in self.graph.traced.exported.tensors

    def _parameters(self, source: torch.fx.Node) -> set[str]:
        """Return the parameters that a value is computed from."""
        names, seen = set(), [source]
        for node in seen:  # grows during the iteration
            seen += [each for each in node.all_input_nodes if each not in seen]
            name = self.graph.traced.exported.tensors.get(node.name)
            if name is not None:
                names.add(self.first.get(name, name))
        return names

    def _roots(self, source: torch.fx.Node) -> set[str]:
        """Return the parameters whose memory a value may share."""
        tensors = self.graph.traced.exported.tensors
        names = (tensors.get(node.name) for node in origins(source))
        return {self.first.get(name, name) for name in names if name is not None}


def _memory(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """Yield a node and the nodes whose memory its value may share."""
    yield node
    sources = (
        node.all_input_nodes if is_getitem(node) else shared(node, lambda alias: alias is not None)
    )
    for source in sources:
        yield from _memory(source)


def _num_inputs(operator: str, shape: torch.Size, given: Mapping[str, Any]) -> int:
    """Return the number of inputs of each output of a layer."""
    if operator in DENSE:
        return shape[0] if DENSE[operator][3] else shape[1]
    if operator not in CONVOLUTIONS:
        return 1
    channels = shape[0] // given["groups"] if "transpose" in operator else shape[1]
    return channels * prod(shape[2:])


def _tensor_arguments(operator: str) -> tuple[str, str, str | None] | None:
    """Return the names of the arguments with the features, the weight and the bias."""
    if operator in DENSE:
        source, weight, bias, _ = DENSE[operator]
        return source, weight, bias
    if operator in CONVOLUTIONS or operator in NORMS:
        return "input", "weight", "bias"
    if operator == "embedding":
        return "indices", "weight", None
    return None


def operator_of(name: str, given: Mapping[str, Any]) -> Operator:
    """Return the regression of a layer.

    Args:
        name: operator of its node.
        given: arguments of the node by name.
    """
    if name in DENSE:
        source, _, _, is_transposed = DENSE[name]
        return Dense(source, is_transposed)
    if name in CONVOLUTIONS:
        kernel = tuple(given["weight"].shape[2:])
        return Convolution(kernel, int(given["groups"]), "transpose" in name)
    if name == "embedding":
        return Embedding()
    if name in ("layer_norm", "rms_norm"):
        dims = len(given["normalized_shape"])
        return Scale("input", tuple(range(-dims, 0)))
    return Scale("input", (1,))
