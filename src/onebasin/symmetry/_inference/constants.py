"""Constants: the values of tensors that the graph alone fixes, computed when asked for.

Index tensors are often arithmetic on `arange`; a rule that knows their values can read
them as slices instead of pinning what they address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from onebasin.symmetry._inference.calls import Value

LARGEST = 1 << 20


class _UnknownError(Exception):
    """A value depends on data or parameters."""


class Constants:
    """Evaluates nodes whose operands are all known.

    Args:
        values: what the solver knows of every node; constants carry their own values.
    """

    def __init__(self, values: Mapping[Node, Any]) -> None:
        self.values = values
        self.known: dict[Node, Any] = {}

    def thunk(self, node: Node, place: int, count: int) -> Callable[[], Tensor | None]:
        """Return a function that gives the value of one output of a node, or None."""

        def value() -> Tensor | None:
            try:
                result = self._evaluate(node)
            except (_UnknownError, RuntimeError, NotImplementedError, TypeError):
                return None
            result = result[place] if isinstance(result, list | tuple) and count else result
            return result if isinstance(result, Tensor) else None

        return value

    def sources(self, node: Node) -> frozenset[str]:
        """Return the names of the buffers that the value of a node is computed from."""
        found: set[str] = set()
        seen, waiting = set[Node](), [node]
        while waiting:
            current = waiting.pop()
            value = self.values.get(current)
            if current.op == "call_function":
                waiting += [each for each in current.all_input_nodes if each not in seen]
                seen.update(current.all_input_nodes)
            elif isinstance(value, Value):
                found |= value.sources()
        return frozenset(found)

    def _evaluate(self, node: Node) -> Any:
        if node not in self.known:
            self.known[node] = self._compute(node)
        return self.known[node]

    def _compute(self, node: Node) -> Any:
        if node.op != "call_function":
            value = self.values.get(node)
            found = value.constant() if isinstance(value, Value) else value
            if found is None:
                raise _UnknownError(node.name)
            return found
        shown = node.meta.get("val")
        if isinstance(shown, Tensor) and prod(map(int, shown.shape)) > LARGEST:
            raise _UnknownError(node.name)
        if not node.all_input_nodes and "rand" in str(node.target):
            raise _UnknownError(node.name)
        args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), self._evaluate)
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        return node.target(*args, **kwargs)  # type: ignore[operator]
