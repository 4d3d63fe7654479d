"""Values that the layers of a merged network are fit to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from onebasin.graph.graph import Graph


@runtime_checkable
class Targets(Protocol):
    """The values that a merged network should have, from those of its sources."""

    def source_graph(self, graph: Graph, inputs: Any) -> Graph:
        """Return the graph of the sources for a batch.

        Args:
            graph: graph of the merged network for the batch.
            inputs: inputs of the batch.
        """
        ...

    def at(self, graph: Graph, node: str, values: Sequence[Tensor]) -> Tensor:
        """Return the value that the merged network should have at a node.

        Args:
            graph: graph of the merged network for the batch.
            node: name of the node.
            values: its values in the sources.
        """
        ...


class MeanTargets:
    """The weighted means of the values of the sources.

    Args:
        fractions: weights of the sources; their sum is 1.
    """

    def __init__(self, fractions: Sequence[float]) -> None:
        """Store the weights."""
        self._fractions = fractions

    def source_graph(self, graph: Graph, inputs: Any) -> Graph:
        """Return the same graph."""
        return graph

    def at(self, graph: Graph, node: str, values: Sequence[Tensor]) -> Tensor:
        """Return the weighted mean; for equal values it is exactly their value."""
        mean = values[0].clone()
        for fraction, value in zip(self._fractions[1:], values[1:], strict=True):
            mean += fraction * (value - values[0])
        return mean
