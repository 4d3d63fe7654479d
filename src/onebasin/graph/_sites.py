"""Sites: nodes of a graph that show the features of a group.

Many values carry a group: before and after its nonlinearity, and along a residual stream. `post`
values are inputs of an operator that contracts the units: the inputs of the next layer. `pre`
values are inputs of an elementwise nonlinearity or, without one, the first values that carry the
group.

A symmetry may be inferred elsewhere, written by hand, or without groups that failed verification.
Its groups are recognized by their parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from onebasin.errors import ArgumentError
from onebasin.graph.graph import FeatureNode, Graph
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Units, substituted
from onebasin.symmetry.symmetry import Symmetry, restrict

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
    return node.name in graph.data_dependent_nodes


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
        source in graph.nodes and source not in graph.data_dependent_nodes
        for source in node.sources
    )


def map_groups(graph: Graph, symmetry: Symmetry) -> Symmetry:
    """Return the layouts of the values in a graph, in the groups of a symmetry.

    Args:
        graph: the traced model.
        symmetry: symmetry of the same architecture; other groups of the graph remain fixed.

    Returns:
        A symmetry whose tensors are the nodes of the graph.

    Raises:
        OneBasinError: the symmetry is of another architecture, or has a group whose units do not
            move together in the graph.
    """
    if graph.symmetry.fingerprint == symmetry.fingerprint:
        return graph.features
    _check_shapes(graph.symmetry, symmetry)
    names = _names(graph.symmetry, symmetry)
    missing = {n: "not in the given symmetry" for n in graph.symmetry.groups if n not in names}
    return _renamed(restrict(graph.features, missing), names)


def _check_shapes(traced: Symmetry, symmetry: Symmetry) -> None:
    for name, shape in symmetry.shapes.items():
        if traced.shapes.get(name) != shape:
            raise ArgumentError(
                f"tensor {name!r} is {shape} in the symmetry but "
                f"{traced.shapes.get(name, 'missing')} in the model; pass the model that the "
                "symmetry is of"
            )


def _names(traced: Symmetry, symmetry: Symmetry) -> dict[str, str]:
    """Return the names of groups of the graph in the symmetry."""
    places = {place: name for name, place in _places(traced)}
    names: dict[str, str] = {}
    for name, place in _places(symmetry):
        if place in places and names.setdefault(places[place], name) != name:
            raise ArgumentError(
                f"the units of {names[places[place]]!r} and {name!r} must move together in "
                "this model; verify the symmetry first"
            )
    for name in symmetry.groups:
        if name not in names.values():
            raise ArgumentError(
                f"no value inside the model shows the units of {name!r}; verify the "
                "symmetry first, or match by weights"
            )
    return names


def _places(symmetry: Symmetry) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield the dimensions of tensors that carry each group."""
    for tensor, blocks in symmetry.blocks.items():
        for block in blocks:
            for factor in block.factors:
                if factor.group is not None and factor.group in symmetry.groups:
                    yield factor.group, (tensor, block.offset, factor.size, factor.stride)


def _renamed(symmetry: Symmetry, names: dict[str, str]) -> Symmetry:
    def rename(units: Units) -> Units:
        return Units(names.get(units.group, units.group), units.size)

    groups = {
        names.get(name, name): Group(
            names.get(name, name),
            group.size,
            tuple(names.get(outer, outer) for outer in group.nested_in),
        )
        for name, group in symmetry.groups.items()
    }
    layouts = {
        node: tuple(substituted(layout, rename) for layout in layouts)
        for node, layouts in symmetry.layouts.items()
    }
    return replace(symmetry, groups=groups, layouts=layouts)
