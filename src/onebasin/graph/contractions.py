"""Dimensions of parameters over which a layer sums."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from onebasin.graph.graph import Graph
from onebasin.symmetry._inference.nodes import named_arguments, operator_of

CONTRACTED: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "linear": {"weight": (1,)},
    "addmm": {"mat1": (1,), "mat2": (0,)},
    "mm": {"self": (1,), "mat2": (0,)},
    "matmul": {"self": (-1,), "other": (-2,)},
    "bmm": {"self": (2,), "mat2": (1,)},
    "baddbmm": {"batch1": (2,), "batch2": (1,)},
    "mv": {"self": (1,), "vec": (0,)},
    "dot": {"self": (0,), "tensor": (0,)},
    "bilinear": {"weight": (1, 2)},
    "conv1d": {"weight": (1,)},
    "conv2d": {"weight": (1,)},
    "conv3d": {"weight": (1,)},
    "conv_transpose1d": {"weight": (0,)},
    "conv_transpose2d": {"weight": (0,)},
    "conv_transpose3d": {"weight": (0,)},
}
"""Dimensions of arguments that the result of an operator does not have."""


def contracted_dims(graph: Graph) -> dict[str, frozenset[int]]:
    """Return the dimensions of parameters over which a layer sums, by parameter.

    Args:
        graph: the traced model. Parameters of unknown operators have no such dimensions.
    """
    found: dict[str, set[int]] = defaultdict(set)
    for node in graph.calls.values():
        for value, dims in _contractions(node):
            traced = _positions(graph, value)
            if traced is None:
                continue
            name, shape, positions = traced
            for dim in dims:
                found[name] |= _varying(positions.movedim(dim, 0), shape)
    return {name: frozenset(dims) for name, dims in found.items()}


def _contractions(node: torch.fx.Node) -> Iterator[tuple[torch.fx.Node, tuple[int, ...]]]:
    """Yield the arguments of a node that it contracts, with their dimensions."""
    if node.op != "call_function":
        return
    operator = operator_of(node)
    given = named_arguments(node, node.args, dict(node.kwargs))
    if operator == "einsum":
        yield from _einsum(given)
    if operator.startswith("conv_transpose") and _is_depthwise(given):
        return
    for name, dims in CONTRACTED.get(operator, {}).items():
        if isinstance(given.get(name), torch.fx.Node):
            yield given[name], dims


def _is_depthwise(given: Mapping[str, Any]) -> bool:
    """Return whether each input channel of a transposed convolution is a group of its own."""
    return given.get("groups", 1) == given["weight"].meta["val"].shape[0] > 1


def _einsum(given: Mapping[str, Any]) -> Iterator[tuple[torch.fx.Node, tuple[int, ...]]]:
    terms, _, result = given["equation"].replace(" ", "").partition("->")
    for term, value in zip(terms.split(","), given["tensors"], strict=True):
        yield value, tuple(dim for dim, letter in enumerate(term) if letter not in result)


def _positions(graph: Graph, node: torch.fx.Node) -> tuple[str, tuple[int, ...], Any] | None:
    """Return the parameter that a value is a view of, and the position of each entry in it.

    The positions are a tensor, or a list of tensors for an operator that returns several.
    """
    tensors = graph.traced.exported.tensors
    if node.op == "placeholder":
        if node.name not in tensors:
            return None
        shape = tuple(node.meta["val"].shape)
        return tensors[node.name], shape, torch.arange(node.meta["val"].numel()).view(shape)
    if len(node.all_input_nodes) != 1 or node.name in graph.data_dependent_nodes:
        return None
    traced = _positions(graph, node.all_input_nodes[0])
    if traced is None:
        return None
    name, shape, positions = traced
    target: Any = node.target
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda _: positions)
    try:
        value = target(*args, **kwargs)
    except (RuntimeError, TypeError):  # arithmetic that has no integer version
        return None
    parts = value if isinstance(value, list | tuple) else [value]
    return (name, shape, value) if all(map(_is_index, parts)) else None


def _is_index(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.int64


def _varying(positions: Tensor, shape: tuple[int, ...]) -> set[int]:
    """Return the dimensions of a tensor along which the entries of positions differ."""
    if len(positions) < 2:
        return set()
    first, second = (torch.unravel_index(each.flatten()[0], shape) for each in positions[:2])
    return {dim for dim, (a, b) in enumerate(zip(first, second, strict=True)) if a != b}
