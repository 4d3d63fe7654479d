"""Sights: which nodes of a graph show the units of which trees.

A tree is matched by the values at the sites of its members. A value on which other groups
lie too can be used once these are matched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from onebasin.graph.correspondence import features_in
from onebasin.graph.graph import Graph
from onebasin.graph.sites import Position, find_sites
from onebasin.matching._coordinate_descent.trees import Tree, View, views_of
from onebasin.symmetry.symmetry import Symmetry


@dataclass(frozen=True)
class Sight:
    """A value as one tree sees it.

    Args:
        root: of the tree.
        place: number of the view among those of the tree at the node.
        view: how the tree sees the value.
    """

    root: str
    place: int
    view: View


class Sights:
    """What the graphs of a model show of the trees of a symmetry.

    Args:
        symmetry: of the model.
        trees: the trees to be matched, by their roots.
        position: whether features are taken before or after nonlinearities.
        call: the public function that is running, for messages.
    """

    def __init__(
        self, symmetry: Symmetry, trees: Mapping[str, Tree], position: Position, call: str
    ) -> None:
        self.symmetry, self.trees, self.call = symmetry, trees, call
        self.position: Position = position
        self._found: dict[int, tuple[Graph, dict[str, tuple[Sight, ...]]]] = {}

    def of(self, graph: Graph) -> Mapping[str, tuple[Sight, ...]]:
        """Return the sights at every node of a graph that has any."""
        if id(graph) not in self._found:
            self._found[id(graph)] = graph, self._look(graph)
        return self._found[id(graph)][1]

    def _look(self, graph: Graph) -> dict[str, tuple[Sight, ...]]:
        features = features_in(graph, self.symmetry, call=self.call)
        sites = find_sites(graph, self.position, features)
        found: dict[str, tuple[Sight, ...]] = {}
        for root, tree in self.trees.items():
            for node in dict.fromkeys(site for member in tree.members for site in sites[member]):
                views = [
                    v for b in features.blocks[node] for v in views_of(features, tree, node, b)
                ]
                sights = tuple(Sight(root, place, view) for place, view in enumerate(views))
                found[node] = found.get(node, ()) + sights
        return found

    def ready(self, graph: Graph, root: str, known: Collection[str]) -> list[Sight]:
        """Return the sights of a tree that need no group that is not matched yet.

        Nothing if they do not show every member of the tree.
        """
        sights = [sight for each in self.of(graph).values() for sight in each if sight.root == root]
        usable = [sight for sight in sights if sight.view.movable <= frozenset(known)]
        shown = {name for sight in usable for name in sight.view.key.own}
        return usable if shown.issuperset(self.trees[root].members) else []
