"""Sites: nodes of a graph that show the features of a group.

Many values carry a group: before and after its nonlinearity, and along a residual stream. `post`
values are inputs of an operator that contracts the units: the inputs of the next layer. `pre`
values are inputs of an elementwise nonlinearity or, without one, the first values that carry the
group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from onebasin.graph.graph import FeatureNode, Graph
from onebasin.symmetry.symmetry import Symmetry

Position = Literal["pre", "post"]

NONLINEAR = frozenset(
    {
        "relu", "relu6", "gelu", "silu", "sigmoid", "tanh", "leaky_relu", "prelu", "elu", "celu",
        "selu", "softplus", "mish", "hardswish", "hardsigmoid", "hardtanh", "logsigmoid",
        "softsign", "threshold", "rrelu", "glu", "erf", "exp", "clamp", "clamp_min",
    }
)  # fmt: skip
"""Elementwise nonlinear operators, including gated ones."""

SELECTIONS = frozenset(
    {"chunk", "split", "split_with_sizes", "unbind", "slice", "select", "narrow", "tensor_split"}
)
"""Operators that select a part of a tensor; omitted units are not contracted."""


def find_sites(
    graph: Graph, position: Position = "post", features: Symmetry | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the nodes that show the features of each group.

    Args:
        graph: the traced model.
        position: `post` (inputs of the next layer) or `pre` (inputs of the nonlinearity).
        features: layouts of the values in the graph. Default: those of `infer_symmetry`.

    Returns:
        Names of nodes, in the order of the forward pass. A group of parameters
        only (a matrix that multiplies another one) has none.
    """
    tensors_of = (features or graph.features).tensors_of
    return {group: _sites(graph, nodes, position) for group, nodes in tensors_of.items()}


def _sites(graph: Graph, nodes: tuple[str, ...], position: Position) -> tuple[str, ...]:
    tensors_of = {name: graph.nodes[name] for name in nodes}
    fed = {name: node for name, node in tensors_of.items() if _sees_examples(graph, node)}
    if position == "pre":
        entering = [s for n in graph.nodes.values() if n.operator in NONLINEAR for s in n.sources]
        chosen = [name for name in fed if name in entering]
        return tuple(chosen or [n for n in fed if not _has_source(fed, fed[n])])
    consumed = [name for name in fed if _is_consumed(graph, name, tensors_of)]
    weighed = [n for n in consumed if _is_consumed(graph, n, tensors_of, by_parameters=True)]
    return tuple(weighed or consumed or fed)


def _has_source(tensors_of: Mapping[str, FeatureNode], node: FeatureNode) -> bool:
    return any(source in tensors_of for source in node.sources)


def _sees_examples(graph: Graph, node: FeatureNode) -> bool:
    return node.name in graph.fed


def _is_consumed(
    graph: Graph,
    name: str,
    tensors_of: Mapping[str, FeatureNode],
    *,
    by_parameters: bool = False,
) -> bool:
    """Return whether a node reads a value and returns one without the units of the group."""
    readers = (graph.nodes[reader] for reader in graph.readers[name])
    return any(
        reader.name not in tensors_of
        and reader.operator not in SELECTIONS
        and (not by_parameters or _takes_parameters(graph, reader))
        for reader in readers
    )


def _takes_parameters(graph: Graph, node: FeatureNode) -> bool:
    """Return whether a node takes parameters, or values that depend only on them."""
    return bool(node.parameters) or any(
        source in graph.nodes and source not in graph.fed for source in node.sources
    )
