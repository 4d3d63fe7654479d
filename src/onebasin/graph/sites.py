"""Sites: the nodes of a graph at which the features of a group's units are looked at.

A group is carried by many values: before and after its nonlinearity, along a residual
stream. `post` are the values that are consumed, where what reads them contracts the units
away: the features that the next layer sees. `pre` are the values that enter a nonlinear
function of one argument, or, where there is none, those at which the units first appear.
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
"""Operators that bend each entry by itself, or halves of a tensor against each other."""

SELECTIONS = frozenset(
    {"chunk", "split", "split_with_sizes", "unbind", "slice", "select", "narrow", "tensor_split"}
)
"""Operators that pick a part of a tensor: units that it leaves out are not contracted."""


def find_sites(
    graph: Graph, position: Position = "post", features: Symmetry | None = None
) -> dict[str, tuple[str, ...]]:
    """Return for every group the nodes that show its units' features.

    Args:
        graph: the traced model.
        position: `post` (what the next layer sees) or `pre` (what enters the nonlinearity).
        features: the layouts of the values in the graph; by default those of `infer_symmetry`.

    Returns:
        Names of nodes, in the order of the forward pass. A group that only parameters carry
        (a matrix folded into another before any example meets it) has none.
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
    """Return whether some node reads a value and gives one without the group's units."""
    readers = (graph.nodes[reader] for reader in graph.readers[name])
    return any(
        reader.name not in tensors_of
        and reader.operator not in SELECTIONS
        and (not by_parameters or _takes_parameters(graph, reader))
        for reader in readers
    )


def _takes_parameters(graph: Graph, node: FeatureNode) -> bool:
    """Return whether a node takes parameters, or what was made of them alone."""
    return bool(node.parameters) or any(
        source in graph.nodes and source not in graph.fed for source in node.sources
    )
