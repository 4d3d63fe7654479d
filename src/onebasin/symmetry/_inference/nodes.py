"""Nodes of an exported graph: their operator and their arguments."""

from __future__ import annotations

import operator
from typing import Any

from torch.fx import Node


def is_getitem(node: Node) -> bool:
    """Whether a node selects one of several outputs."""
    return node.target is operator.getitem


def getitem_number(node: Node) -> int:
    """Return the number of the output that a node selects."""
    number = node.args[1]
    assert isinstance(number, int)
    return number


def operator_of(node: Node) -> str:
    """Return the name of the operator of a node or selected output."""
    source = node.all_input_nodes[0] if is_getitem(node) else node
    name = getattr(source.target, "__name__", str(source.target))
    return name.split(".")[0].rstrip("_")


def named_arguments(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an operator by their names, defaults included.

    Args:
        node: a node that calls an operator; without a schema only keyword arguments have names.
        args, kwargs: its arguments: nodes or values.
    """
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(kwargs)
    defaults = {each.name: each.default_value for each in schema.arguments}
    names = (each.name for each in schema.arguments)
    return defaults | dict(zip(names, args, strict=False)) | kwargs
