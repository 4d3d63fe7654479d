"""Lazy evaluation of tensors that do not depend on data or parameters.

Index tensors are often computed from `arange`. A rule that knows their values can treat them
as slices instead of fixing the indexed dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from onebasin.symmetry._inference.calls import Value

MAX_ENTRIES = 1 << 20


class _UnknownError(Exception):
    """The value depends on data or parameters."""


class Constants:
    """Evaluates nodes with known operands.

    Args:
        values: the solver's value of every node; constants contain their entries.
    """

    def __init__(self, values: Mapping[Node, Any]) -> None:
        self.values = values
        self.known: dict[Node, Any] = {}

    def thunk(self, node: Node, place: int, count: int) -> Callable[[], Tensor | None]:
        """Return a function that returns the value of one output of a node, or None."""

        def value() -> Tensor | None:
            try:
                result = self._evaluate(node)
            except (_UnknownError, RuntimeError, NotImplementedError, TypeError):
                return None
            result = result[place] if isinstance(result, list | tuple) and count else result
            return result if isinstance(result, Tensor) else None

        return value

    def sources(self, node: Node) -> frozenset[str]:
        """Return the names of the buffers that the value of a node depends on."""
        names: set[str] = set()
        seen, pending = set[Node](), [node]
        while pending:
            current = pending.pop()
            value = self.values.get(current)
            if current.op == "call_function":
                pending += [each for each in current.all_input_nodes if each not in seen]
                seen.update(current.all_input_nodes)
            elif isinstance(value, Value):
                names |= value.sources()
        return frozenset(names)

    def _evaluate(self, node: Node) -> Any:
        if node not in self.known:
            self.known[node] = self._compute(node)
        return self.known[node]

    def _compute(self, node: Node) -> Any:
        if node.op != "call_function":
            value = self.values.get(node)
            known = value.constant() if isinstance(value, Value) else value
            if known is None:
                raise _UnknownError(node.name)
            return known
        example = node.meta.get("val")
        if isinstance(example, Tensor) and prod(map(int, example.shape)) > MAX_ENTRIES:
            raise _UnknownError(node.name)
        if not node.all_input_nodes and "rand" in str(node.target):
            raise _UnknownError(node.name)
        args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), self._evaluate)
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        return node.target(*args, **kwargs)  # type: ignore[operator]
