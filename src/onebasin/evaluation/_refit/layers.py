"""Layers that can be refit: nodes that multiply features by a parameter, and norms."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from onebasin.evaluation._refit.norms import TENSORS
from onebasin.evaluation._refit.operator_table import (
    DENSE,
    NORMS,
    UNSUPPORTED,
    num_inputs_of,
    tensor_arguments,
)
from onebasin.graph._nodes import origins, shared
from onebasin.graph.binding import first_names
from onebasin.graph.graph import FeatureNode, Graph
from onebasin.symmetry._inference.nodes import is_getitem, named_arguments, operator_of

MAX_UNKNOWNS = 5000
"""Maximum number of inputs of a layer that are refit together; others are refit in blocks."""

VIEWS = {
    "t", "transpose", "permute", "view", "squeeze", "unsqueeze", "select", "slice", "narrow",
    "split", "split_with_sizes", "chunk", "tensor_split", "unbind",
}  # fmt: skip
"""Operators whose values always share the memory of their input."""

TRANSPOSES = {"t", "transpose", "permute"}
"""Views that exchange the dimensions of a matrix."""

USED_TWICE = "its parameters are used more than once"


@dataclass(frozen=True)
class Tie:
    """The tensors of a layer whose weight other layers use too.

    Args:
        weight: name of the weight.
        bias: name of the bias, or None.
        is_reversed: whether the layer uses the transpose of the weight.
    """

    weight: str
    bias: str | None
    is_reversed: bool


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
        tie: its tensors, if it is refit together with other uses of its weight.
    """

    node: str
    label: str
    target: str
    weight: str | None
    bias: str | None
    norm: str | None = None
    num_inputs: int = 1
    tie: Tie | None = None

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
    refused = finder.unsupported_ties(layers)
    skipped |= {layer.label: USED_TWICE for layer in layers if layer.node in refused}
    layers = [layer for layer in layers if layer.node not in refused]
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
        names = tensor_arguments(node.operator)
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
        if node.operator == "baddbmm" and not self._is_row(given[bias or ""], given[weight]):
            return "its bias is not a row for each weight"
        if given.get("alpha", 1) != 1 or given.get("beta", 1) != 1:
            return "its summands have factors"
        bias = bias if bias and isinstance(given.get(bias), torch.fx.Node) else None
        tie = self._tie(given[weight], given[bias] if bias else None)
        for name in (weight, bias):
            reason = None if name is None or tie else self._reason(given[name])
            if reason is not None:
                return reason
        num_inputs = num_inputs_of(node.operator, given[weight].meta["val"].shape, given)
        # Statistics of a layer that is refit in blocks are not known.
        norm = self._norm_of(node) if num_inputs <= MAX_UNKNOWNS and tie is None else None
        return RefitLayer(
            node=node.name,
            label=node.label,
            target=norm or node.name,
            weight=weight,
            bias=bias,
            norm=norm,
            num_inputs=num_inputs,
            tie=tie,
        )

    @staticmethod
    def _is_row(bias: Any, weight: torch.fx.Node) -> bool:
        """Return whether a bias has one row for each weight of a batch."""
        groups, _, width = weight.meta["val"].shape
        return isinstance(bias, torch.fx.Node) and bias.meta["val"].shape == (groups, 1, width)

    def _tie(self, weight: torch.fx.Node, bias: torch.fx.Node | None) -> Tie | None:
        """Return the whole parameters of a layer whose weight is used more than once."""
        found = self._whole(weight)
        if found is None or len(self.uses[found[0]]) < 2:
            return None
        if bias is None:
            return Tie(found[0], None, found[1])
        shift = self._whole(bias)
        return None if shift is None or shift[1] else Tie(found[0], shift[0], found[1])

    def _whole(self, source: torch.fx.Node) -> tuple[str, bool] | None:
        """Return the parameter that a value is, and whether it is transposed."""
        is_reversed = False
        while source.op != "placeholder":
            if operator_of(source) not in TRANSPOSES or source.meta["val"].dim() != 2:
                return None
            (inner,) = source.all_input_nodes
            is_reversed ^= _strides(source) != _strides(inner)
            source = inner
        name = self.graph.traced.exported.tensors.get(source.name)
        return None if name is None else (self.first.get(name, name), is_reversed)

    def unsupported_ties(self, layers: Sequence[RefitLayer]) -> set[str]:
        """Return the nodes of layers whose shared weights cannot be refit jointly."""
        groups: dict[str, list[RefitLayer]] = defaultdict(list)
        for layer in layers:
            if layer.tie is not None:
                groups[layer.tie.weight].append(layer)
        return {
            layer.node
            for weight, group in groups.items()
            for layer in group
            if not self._is_joint(weight, group)
        }

    def _is_joint(self, weight: str, group: Sequence[RefitLayer]) -> bool:
        """Return whether layers are all uses of their weight, with systems that can be added."""
        kinds: dict[str, set[object]] = defaultdict(set)
        biases: Counter[str] = Counter()
        for layer in group:
            operator, given = self.graph.nodes[layer.node].operator, self._arguments(layer.node)
            assert layer.tie is not None
            is_matrix = operator in DENSE or operator == "embedding"
            kinds[""].add("matrix" if is_matrix else (operator, given.get("groups")))
            if layer.tie.bias is not None:
                biases[layer.tie.bias] += 1
                kinds[layer.tie.bias].add((operator, layer.tie.is_reversed))
        return (
            len(group) == len(self.uses[weight])
            and all(number == len(self.uses[bias]) for bias, number in biases.items())
            and all(len(kind) == 1 for kind in kinds.values())
            and all(layer.num_inputs <= MAX_UNKNOWNS for layer in group)
        )

    def _batch_norm(self, node: FeatureNode, given: Mapping[str, Any]) -> RefitLayer | str | None:
        for name in TENSORS:
            if name in ("weight", "bias") and given.get(name) is None:
                continue
            if not isinstance(given.get(name), torch.fx.Node):
                return None  # the statistics of the batch are used
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
            tensor_arguments(self.graph.nodes[name].operator) is not None
            for name in between - {norm.name}
            if name in self.graph.nodes
        )
        if is_layer or self._overwrites(node.name, between):
            return None
        dims = self.graph.calls[node.name].meta["val"].dim()
        if node.operator in DENSE and dims != 2:
            return None
        given = self._arguments(norm.name)
        if given["weight"] is None or given["bias"] is None:
            return None
        return norm.name if isinstance(self._batch_norm(norm, given), RefitLayer) else None

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
            return USED_TWICE
        return None

    def _is_part(self, source: torch.fx.Node) -> bool:
        """Return whether a tensor is a parameter or a part of one, in the same memory."""
        while source.op != "placeholder":
            if not (is_getitem(source) or operator_of(source) in VIEWS):
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


def _strides(node: torch.fx.Node) -> tuple[object, object]:
    value = node.meta["val"]
    return value.shape, value.stride()


def _memory(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """Yield a node and the nodes whose memory its value may share."""
    yield node
    sources = (
        node.all_input_nodes if is_getitem(node) else shared(node, lambda alias: alias is not None)
    )
    for source in sources:
        yield from _memory(source)
