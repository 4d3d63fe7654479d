"""Detection of in-place writes that typing rules cannot handle.

A rule sees the operands and the result of one operator. It does not see that a write through a
view also changes every other alias. Such graphs must be functionalized before inference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

EVALUATION_DROPOUT = torch.ops.aten.dropout.default
"""Returns its operand in evaluation mode, but `torch.export` assumes a copy."""


def needs_functionalization(graph_module: GraphModule) -> bool:
    """Return whether a graph contains in-place writes that typing rules cannot handle.

    A write is harmless if later nodes read the written memory only through the result of the
    write, as in `conv(x).relu_()`. Writes to placeholders, inside subgraphs and to integers
    (which rules may use as an index) always need functionalization.
    """
    subgraphs = [m for m in graph_module.modules() if isinstance(m, GraphModule)]
    if not any(_written(node) for module in subgraphs for node in module.graph.nodes):
        return False
    inner = [module for module in subgraphs if module is not graph_module]
    if any(_written(node) for module in inner for node in module.graph.nodes):
        return True
    return _is_seen_elsewhere(graph_module.graph)


def replace_evaluation_dropout(graph_module: GraphModule) -> None:
    """Replace dropout in evaluation mode by an alias operator."""
    for module in graph_module.modules():
        for node in module.graph.nodes if isinstance(module, GraphModule) else ():
            if _is_evaluation_dropout(node):
                node.target, node.args = torch.ops.aten.alias.default, (node.args[0],)


def _is_evaluation_dropout(node: Node) -> bool:
    return node.target is EVALUATION_DROPOUT and node.args[2] is False


def _written(node: Node) -> list[Node]:
    """Return the operands that a node writes in place."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    written: list[Node] = []
    for i, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name)
            written += [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Node)]
    return written


def _is_seen_elsewhere(graph: Graph) -> bool:
    """Return whether a write is visible through a node other than its result."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    aliases = _aliases(graph)
    for node, place in order.items():
        written = _written(node)
        if any(_holds_whole_numbers(target) for target in written):
            return True
        for alias in {alias for target in written for alias in aliases[target]}:
            is_older = order[alias] < place
            if is_older and (alias.op != "call_function" or _is_read_after(alias, place, order)):
                return True
    return False


def _is_read_after(alias: Node, place: int, order: dict[Node, int]) -> bool:
    return any(order[user] > place for user in alias.users)


def _holds_whole_numbers(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and not value.is_floating_point()


def _aliases(graph: Graph) -> dict[Node, set[Node]]:
    """Return the nodes that share memory with each node."""
    holders: dict[object, set[Node]] = defaultdict(set)
    for node in graph.nodes:
        joined = {node}.union(*(holders[key] for key in _memories(node)))
        for member in joined:
            for key in _memories(member):
                holders[key] = joined
    return {node: holders[node] for node in graph.nodes}


def _memories(node: Node) -> Iterator[object]:
    """Yield keys of a node's memory: the node, its storages, and operands it may return."""
    yield node
    for value in pytree.tree_leaves(node.meta.get("val")):
        if isinstance(value, Tensor):
            yield value.untyped_storage()._cdata
    if _is_evaluation_dropout(node):
        yield node.args[0]
