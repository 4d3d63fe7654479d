"""Values that the layers of an enlarged network are fit to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from onebasin.errors import ArgumentError
from onebasin.graph._sites import map_groups
from onebasin.graph.features import Features
from onebasin.graph.graph import Graph
from onebasin.symmetry._enlargement import Enlargement
from onebasin.symmetry.symmetry import Symmetry


class EnlargedTargets:
    """Values of an enlarged network: means for merged units, own values for separate ones.

    Args:
        features: the architecture of the sources.
        enlargement: the units of the enlarged network.
    """

    def __init__(self, features: Features, enlargement: Enlargement) -> None:
        """Store the arguments."""
        self._features, self._enlargement = features, enlargement
        self._layouts: dict[Any, Symmetry] = {}

    def source_graph(self, graph: Graph, inputs: Any) -> Graph:
        """Return the graph of the sources for a batch."""
        source = self._features.graph_of(inputs, 0)
        if graph.signature not in self._layouts:
            if list(source.nodes) != list(graph.nodes):
                raise ArgumentError(
                    "the model has other operations at other sizes; use size=1 for this model"
                )
            self._layouts[graph.signature] = map_groups(source, self._enlargement.symmetry)
        return source

    def values(self, graph: Graph, node: str, values: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the values of each source; a unit that only others have is that of the others."""
        layouts = self._layouts[graph.signature].layouts[node]
        return self._enlargement.spread(layouts, values)
