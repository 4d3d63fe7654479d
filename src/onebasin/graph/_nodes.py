"""Properties of single nodes of a traced graph.

Its operator and module, the tensors that go in, and whose memory its value may share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

from onebasin.symmetry._inference.export import PREFIX
from onebasin.symmetry._inference.nodes import is_getitem, operator_of

IDENTITIES = frozenset({"dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"})
"""Operators that return their input in evaluation mode, which is not in their schemas."""


def tensor_inputs(node: torch.fx.Node) -> Iterator[str]:
    """Yield the input nodes of a node; for a selected output, those of its operator."""
    for source in node.all_input_nodes:
        if isinstance(source.meta.get("val"), list | tuple):
            yield from tensor_inputs(source)
        else:
            yield source.name


def writes(node: torch.fx.Node) -> bool:
    """Return whether a node may change its inputs in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is None or schema.is_mutable


def shared(node: torch.fx.Node, shares: Callable[[Any], bool]) -> Iterator[torch.fx.Node]:
    """Yield the inputs of a node with the given aliasing in the schema of the operator."""
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


def module_of(node: torch.fx.Node) -> str:
    """Return the path of the module that a node belongs to; empty for the model itself."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]).removeprefix(PREFIX[:-1]).removeprefix(".") if stack else ""
