"""A run of one network through a traced graph, which can stop at a node and go on later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from onebasin.errors import ArgumentError
from onebasin.symmetry._inference.nodes import named_arguments


@dataclass(frozen=True)
class Bound:
    """The tensors of one network, ready to run.

    Args:
        values: parameters and buffers by name, on the device of the graph.
        precision: dtype that inputs are converted to, or None if they keep their own.
    """

    values: Mapping[str, Tensor]
    precision: torch.dtype | None


def _taken(values: Sequence[Any]) -> Iterator[Any]:
    """Yield values without keeping those that were yielded."""
    remaining = deque(values)
    while remaining:
        yield remaining.popleft()


class NetworkRun(torch.fx.Interpreter):
    """A run of one network on one batch.

    Args:
        graph_module: the graph.
        order: nodes to run, in order.
        placeholders: values of the placeholders, in the order of the graph.
        parameters: names of the nodes that depend on parameters only.
        describe: function from the name of a node to its description for messages.
    """

    def __init__(
        self,
        graph_module: torch.fx.GraphModule,
        order: Sequence[torch.fx.Node],
        placeholders: Sequence[Any],
        parameters: frozenset[str],
        describe: Callable[[str], str],
    ) -> None:
        super().__init__(graph_module, garbage_collect_values=True)
        self.args_iter = _taken(placeholders)
        self.outputs: list[Tensor] = []
        self._order, self._describe = order, describe
        self._places = {node.name: place for place, node in enumerate(order)}
        self._parameters, self._position = parameters, 0

    def value_of(self, node: torch.fx.Node) -> Any:
        """Return the value of the next node.

        Raises:
            OneBasinError: the operator fails; the message has the node.
        """
        try:
            return self.run_node(node)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = next(iter(str(error).strip().splitlines()), repr(error))
            raise ArgumentError(
                f"the model does not run on the batch, at {self._describe(node.name)}: {reason}; "
                "pass data of the dtype and kind that it accepts"
            ) from error

    def keep(self, node: torch.fx.Node, value: Any) -> None:
        """Keep the value of a node for later ones, and free values that are no longer needed."""
        self.env[node] = value
        for done in self.user_to_last_uses.get(node, []):
            self.env.pop(done, None)

    def run_before(self, name: str) -> None:
        """Run the remaining nodes before a node."""
        while self._position < self._places[name]:
            self._step()

    def run_through(self, name: str) -> Any:
        """Run the remaining nodes up to a node, and return its value.

        The value of a node that was run is available while later nodes need it.
        """
        if self._position > self._places[name]:
            return self.env[self._order[self._places[name]]]
        self.run_before(name)
        return self._step()

    def _step(self) -> Any:
        node = self._order[self._position]
        with torch.no_grad():
            value = self.value_of(node)
        self.keep(node, value)
        self._position += 1
        return value

    def fork(self) -> NetworkRun:
        """Return a run that continues from the same values; both can go on independently."""
        other = copy(self)
        other.env = dict(self.env)
        return other

    def arguments(self, name: str) -> dict[str, Any]:
        """Return the arguments of a node by their names, defaults included.

        Args:
            name: name of a node that was not run, but whose inputs were.
        """
        node = self._order[self._places[name]]
        return named_arguments(node, *self.fetch_args_kwargs_from_env(node))

    def values(self) -> Iterator[Any]:
        """Yield the values that later nodes need, without parameters."""
        return (value for node, value in self.env.items() if node.name not in self._parameters)

    def take_values(self) -> dict[str, Any]:
        """Remove and return the kept values, without parameters; see `restore_values`."""
        names = {node.name: node for node in self.env if node.name not in self._parameters}
        return {name: self.env.pop(node) for name, node in names.items()}

    def restore_values(self, values: Mapping[str, Any]) -> None:
        """Restore the values that `take_values` returned."""
        self.env.update({node: values[node.name] for node in self._order if node.name in values})

    def output(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Keep the tensors of the output node."""
        self.outputs = [leaf for leaf in pytree.tree_leaves(args) if isinstance(leaf, Tensor)]
        return self.outputs
