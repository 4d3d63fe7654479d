"""Values that the layers of a merged network are fit to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from onebasin.evaluation._moments import UnitMoments
from onebasin.graph.graph import Graph

MAX_FACTOR = 3.0
"""Largest factor of a unit; units of the sources that cancel out are not blown up."""


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

    def values(self, graph: Graph, node: str, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the values whose weighted mean the merged network should have at a node.

        Args:
            graph: graph of the merged network for the batch.
            node: name of the node.
            values: its values in the sources.
        """
        ...


class MeanTargets:
    """The values of the sources; the merged network has the same units."""

    def source_graph(self, graph: Graph, inputs: Any) -> Graph:
        """Return the same graph."""
        return graph

    def values(self, graph: Graph, node: str, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the same values."""
        return values


class Spread:
    """Rescales mean values so that units vary as much as in the sources.

    Units that are not perfectly correlated vary less in the mean of networks. Each unit gets the
    mean standard deviation of the sources, as in REPAIR (Jordan et al. 2022, Eq. 4). The
    moments are those of all batches so far.

    Args:
        fractions: weights of the sources; their sum is 1.
    """

    def __init__(self, fractions: Sequence[float]) -> None:
        """Initialize without values."""
        self._fractions = fractions
        self._moments: list[UnitMoments] = []

    def rescaled(
        self, mean: Float[Tensor, "g n c"], values: Sequence[Float[Tensor, "g n c"]], weight: float
    ) -> Float[Tensor, "g n c"]:
        """Return mean values with the standard deviations of the sources.

        Args:
            mean: mean values of the sources; its rows are examples and positions.
            values: values of each source.
            weight: weight of every row.
        """
        found = [_moments(each, weight) for each in (mean, *values)]
        known = self._moments
        self._moments = [a + b for a, b in zip(known, found, strict=True)] if known else found
        merged, *sources = self._moments
        own, first = merged.std, sources[0].std
        wanted = first.clone()
        for fraction, each in zip(self._fractions[1:], sources[1:], strict=True):
            wanted += fraction * (each.std - first)
        factor = torch.where(own > 0, wanted / own, 1.0).clamp(1 / MAX_FACTOR, MAX_FACTOR)
        shape = mean.shape[0], 1, mean.shape[2]
        center, change = (each.view(shape).to(mean) for each in (merged.mean, factor - 1))
        return mean + (mean - center) * change


def mean_of_values(values: Sequence[Tensor], fractions: Sequence[float]) -> Tensor:
    """Return the weighted mean; for equal values it is exactly their value."""
    mean = values[0].clone()
    for fraction, value in zip(fractions[1:], values[1:], strict=True):
        mean += fraction * (value - values[0])
    return mean


def _moments(rows: Float[Tensor, "g n c"], weight: float) -> UnitMoments:
    variance, mean = torch.var_mean(rows, dim=1, correction=0)
    count = weight * rows.shape[1]
    return UnitMoments(count, mean.flatten().double(), count * variance.flatten().double())
