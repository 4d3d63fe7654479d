"""Layers: nodes of a graph that multiply features by a parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from onebasin.graph._windows import Windows, windows
from onebasin.graph.graph import Call, FeatureNode, Graph
from onebasin.symmetry._apply import is_self_contained
from onebasin.symmetry.layouts import Layout, Product
from onebasin.symmetry.symmetry import Symmetry

DENSE = {"linear": ("weight", "bias"), "addmm": ("bias", "weight")}
"""Order of the parameters for each operator on rows."""

CONVOLUTIONS = ("conv1d", "conv2d")


@dataclass(frozen=True)
class Layer:
    """A node that computes `y = W x + b` for every row of its input.

    Args:
        node: name of the node.
        weight: name of the weight.
        bias: name of the bias, or None.
        is_transposed: whether the weight is `(in, out)`.
        kernel: window sizes of a convolution, () for a dense layer.
        out_layout: layout of the output units.
        in_layout: layout of the input units, window positions included.
    """

    node: str
    weight: str
    bias: str | None
    is_transposed: bool
    kernel: tuple[int, ...]
    out_layout: Layout
    in_layout: Layout

    def matrix(self, params: Mapping[str, Tensor]) -> Float[Tensor, "n d"]:
        """Return the weight as `(out, in)`."""
        weight = params[self.weight].detach()
        return weight.T if self.is_transposed else weight.flatten(1)

    def rows(self, call: Call, network: int) -> Float[Tensor, "n d"] | Windows:
        """Return the rows that are multiplied by the weight; windows are extracted on indexing.

        Args:
            call: call of this node.
            network: number of the network.
        """
        args, kwargs = call.arguments[network]
        if not self.kernel:
            inputs = args[1 if self.is_transposed else 0]
            return inputs.reshape(-1, inputs.shape[-1])
        names = ("input", "weight", "bias", "stride", "padding", "dilation")
        named = dict(zip(names, args, strict=False)) | kwargs
        return windows(named["input"], self.kernel, named)

    @property
    def sides(self) -> dict[str, tuple[Layout, ...]]:
        """The layouts of both sides, as tensors of one dimension."""
        return {f"{self.node}:out": (self.out_layout,), f"{self.node}:in": (self.in_layout,)}


def find_layers(graph: Graph, symmetry: Symmetry) -> list[Layer]:
    """Return the layers with data-dependent inputs, in the order of the forward pass.

    Grouped convolutions, products with the weight first or with factors, and layers with coupled
    sides are left out.

    Args:
        graph: the traced model.
        symmetry: symmetry of its parameters.
    """
    layers = (_layer(graph, node, symmetry) for node in graph.nodes.values())
    nested_in = {name: group.nested_in for name, group in symmetry.groups.items()}
    return [
        layer
        for layer in layers
        if layer is not None
        and is_self_contained(layer.out_layout, nested_in)
        and is_self_contained(layer.in_layout, nested_in)
    ]


def layer_axes_symmetry(symmetry: Symmetry, layers: Sequence[Layer]) -> Symmetry:
    """Return a symmetry of the layers' sides, `NODE:out` and `NODE:in`."""
    layouts = {name: side for layer in layers for name, side in layer.sides.items()}
    return replace(symmetry, layouts=layouts, tied=(), buffers=(), unused=(), unsupported_ops=())


def _layer(graph: Graph, node: FeatureNode, symmetry: Symmetry) -> Layer | None:
    if (
        len(node.sources) != 1
        or node.name not in graph.data_dependent_nodes
        or not _multiplies_rows(graph, node)
    ):
        return None
    order = ("weight", "bias") if node.operator in CONVOLUTIONS else DENSE.get(node.operator, ())
    tensors = dict(zip(order, node.parameters, strict=False))
    layouts = symmetry.layouts.get(tensors.get("weight", ""), ())
    if not set(tensors.values()).issubset(symmetry.layouts) or len(layouts) < 2:
        return None
    is_transposed = node.operator == "addmm"
    out, *inner = reversed(layouts) if is_transposed else layouts
    if node.operator in CONVOLUTIONS and inner[0].size != _channels(graph, node, len(inner)):
        return None
    return Layer(
        node=node.name,
        weight=tensors["weight"],
        bias=tensors.get("bias"),
        is_transposed=is_transposed,
        kernel=tuple(layout.size for layout in inner[1:]),
        out_layout=out,
        in_layout=Product(tuple(inner)) if len(inner) > 1 else inner[0],
    )


def _multiplies_rows(graph: Graph, node: FeatureNode) -> bool:
    """Return whether a node only multiplies its input by a weight.

    The input may instead be the other factor, or the summand of two parameters' product; `addmm`
    may have scale factors.
    """
    call, place = graph.calls[node.name], int(node.operator == "addmm")
    factors = [call.kwargs.get(name, 1) for name in ("alpha", "beta")]
    fed = call.args[place] if len(call.args) > place else None
    return fed is graph.calls[node.sources[0]] and factors == [1, 1]


def _channels(graph: Graph, node: FeatureNode, num_dims: int) -> int:
    """Return the channels that a convolution reads: more than its weight has, if grouped.

    A single image may have no batch dimension, so dimensions are counted from the end.
    """
    nodes = graph.traced.exported.graph_module.graph.nodes
    traced_node = next(each for each in nodes if each.name == node.name)
    return int(traced_node.all_input_nodes[0].meta["val"].shape[-num_dims])
