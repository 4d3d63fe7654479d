"""Nodes: what one node of a traced graph is, read from the node itself.

Its operator and module, the tensors that go in, and whose memory its value may share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

from onebasin.symmetry._inference.export import PREFIX, is_getitem

IDENTITIES = frozenset({"dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"})
"""Operators that return their input itself in evaluation mode, which their schemas do not tell."""


def tensor_inputs(node: torch.fx.Node) -> Iterator[str]:
    """Yield the nodes whose tensors a node takes; of a picked one, those it was made from."""
    for source in node.all_input_nodes:
        if isinstance(source.meta.get("val"), list | tuple):
            yield from tensor_inputs(source)
        else:
            yield source.name


def writes(node: torch.fx.Node) -> bool:
    """Tell whether a node changes its inputs in place, or may."""
    schema = getattr(node.target, "_schema", None)
    return schema is None or schema.is_mutable


def shared(node: torch.fx.Node, shares: Callable[[Any], bool]) -> Iterator[torch.fx.Node]:
    """Yield the inputs of a node whose aliasing, as the operator's schema has it, is as asked."""
    schema = getattr(node.target, "_schema", None)
    for place, argument in enumerate(schema.arguments if schema is not None else ()):
        given = node.args[place] if place < len(node.args) else node.kwargs.get(argument.name)
        if shares(argument.alias_info):
            yield from (x for x in pytree.tree_leaves(given) if isinstance(x, torch.fx.Node))


def origins(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """Yield the placeholders whose memory a value may share."""
    if node.op == "placeholder":
        yield node
        return
    keeps = is_getitem(node) or operator_of(node) in IDENTITIES
    sources = node.all_input_nodes if keeps else shared(node, lambda alias: alias is not None)
    for source in sources:
        yield from origins(source)


def operator_of(node: torch.fx.Node) -> str:
    """Return the operator's name; of a picked output, that of what it was picked from."""
    source = node.all_input_nodes[0] if is_getitem(node) else node
    name = getattr(source.target, "__name__", str(source.target))
    return name.split(".")[0].rstrip("_")


def module_of(node: torch.fx.Node) -> str:
    """Return the path of the module that a node belongs to; empty for the model itself."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]).removeprefix(PREFIX[:-1]).removeprefix(".") if stack else ""
