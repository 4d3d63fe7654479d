"""Detection of chains of linear layers.

The traced operators decide, not the class of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten

from onebasin.graph.batches import output_of

aten = torch.ops.aten
_POINTWISE: dict[Any, str] = {
    aten.relu.default: "relu",
    aten.tanh.default: "tanh",
    aten.sigmoid.default: "sigmoid",
}
_VIEWS = (aten.view.default, aten._unsafe_view.default, aten.reshape.default)


@dataclass(frozen=True)
class Layer:
    """A linear layer of a chain.

    Args:
        weight: name of its weight, `(units, inputs)`.
        bias: name of its bias, or None.
        activation: name of the operator that follows, or None.
    """

    weight: str
    bias: str | None
    activation: str | None = None


def chain_of(network: nn.Module, example: Tensor) -> list[Layer] | None:
    """Return the layers of a network that is a chain of linear layers, or None.

    Args:
        network: the network, in training mode.
        example: one input without the batch dimension.
    """
    params: dict[str, Tensor] = dict(network.named_parameters())
    kinds = {(param.dtype, param.requires_grad) for param in params.values()}
    if kinds != {(example.dtype, True)} or example.dtype not in (torch.float32, torch.float64):
        return None
    # Two batch sizes, to detect a network with a hard-coded batch size.
    traces = [_walk(_trace(network, params, example, size), list(params), size) for size in (2, 3)]
    layers = traces[0]
    if layers is None or traces[1] != layers or layers[-1].activation is not None:
        return None
    used = [name for layer in layers for name in (layer.weight, layer.bias) if name is not None]
    return layers if sorted(used) == sorted(params) else None


def _trace(
    network: nn.Module, params: dict[str, Tensor], example: Tensor, size: int
) -> GraphModule | None:
    inputs = example.unsqueeze(0).repeat(size, *[1] * example.ndim)

    def run(params: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return output_of(functional_call(network, params, (inputs,)))

    try:
        with torch.no_grad():
            return make_fx(run)(params, inputs)
    # A network that cannot be traced uses another engine.
    except Exception:
        return None


def _walk(graph: GraphModule | None, names: list[str], size: int) -> list[Layer] | None:
    if graph is None:
        return None
    nodes = list(graph.graph.nodes)
    places = [node for node in nodes if node.op == "placeholder"]
    held: dict[Any, Any] = dict(zip(places, names, strict=False))
    walk = _Walk(places[len(names)], held, size)
    for node in nodes:
        if node.op == "output":
            ends, _ = tree_flatten(node.args[0])
            return walk.layers if walk.layers and ends == [walk.current] else None
        if node.op != "placeholder" and not walk.follow(node):
            return None
    return None


class _Walk:
    """Follows the single value that passes through a chain."""

    def __init__(self, start: Node, held: dict[Any, Any], size: int) -> None:
        self.current = start
        self.layers: list[Layer] = []
        self._held = held
        self._turned: dict[Any, str] = {}
        self._size = size

    def follow(self, node: Node) -> bool:
        """Process one node; return whether it is valid in a chain."""
        target: Any = node.target
        if node.op != "call_function" or node.kwargs:
            return False
        if target is aten.t.default and node.args[0] in self._held:
            self._turned[node] = self._held[node.args[0]]
            return True
        if target in _VIEWS:
            return self._flatten(node)
        if (activation := _POINTWISE.get(target)) is not None:
            return self._activate(node, activation)
        return self._multiply(node)

    def _flatten(self, node: Node) -> bool:
        shape = tuple(node.meta["val"].shape)
        is_kept = len(shape) == 2 and shape[0] == self._size
        return self._advance(node, node.args[0]) if is_kept else False

    def _activate(self, node: Node, name: str) -> bool:
        if not self.layers or self.layers[-1].activation is not None:
            return False
        last = self.layers[-1]
        self.layers[-1] = Layer(last.weight, last.bias, name)
        return self._advance(node, node.args[0])

    def _multiply(self, node: Node) -> bool:
        if node.target is aten.addmm.default and len(node.args) == 3:
            bias, x, weight = node.args
            if not isinstance(bias, Node) or bias not in self._held:
                return False
            if node.meta["val"].shape[1:] != bias.meta["val"].shape:
                return False
        elif node.target is aten.mm.default:
            bias, (x, weight) = None, node.args
        else:
            return False
        if weight not in self._turned:
            return False
        self.layers.append(Layer(self._turned[weight], self._held.get(bias)))
        return self._advance(node, x)

    def _advance(self, node: Node, source: Any) -> bool:
        if source is not self.current:
            return False
        self.current = node
        return True
