"""Maps graph nodes to the groups whose features they expose.

A tree is matched by the values at the sites of its members. A value with other groups can be
used only after these are matched.
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
class FeatureView:
    """A value as seen from one tree.

    Args:
        root: root of the tree.
        place: number of the view among those of the tree at the node.
        view: arrangement of the value.
    """

    root: str
    place: int
    view: View


class FeatureViews:
    """The views of the trees of a symmetry in the graphs of a model.

    Args:
        symmetry: symmetry of the model.
        trees: the trees by root.
        position: whether features are taken before or after nonlinearities.
        call: name of the public function, for messages.
    """

    def __init__(
        self, symmetry: Symmetry, trees: Mapping[str, Tree], position: Position, call: str
    ) -> None:
        self.symmetry, self.trees, self.call = symmetry, trees, call
        self.position: Position = position
        self._by_graph: dict[int, tuple[Graph, dict[str, tuple[FeatureView, ...]]]] = {}

    def of(self, graph: Graph) -> Mapping[str, tuple[FeatureView, ...]]:
        """Return the views by node of a graph."""
        if id(graph) not in self._by_graph:
            self._by_graph[id(graph)] = graph, self._collect_views(graph)
        return self._by_graph[id(graph)][1]

    def _collect_views(self, graph: Graph) -> dict[str, tuple[FeatureView, ...]]:
        features = features_in(graph, self.symmetry, call=self.call)
        sites = find_sites(graph, self.position, features)
        by_node: dict[str, tuple[FeatureView, ...]] = {}
        for root, tree in self.trees.items():
            for node in dict.fromkeys(site for member in tree.members for site in sites[member]):
                views = [
                    v for b in features.blocks[node] for v in views_of(features, tree, node, b)
                ]
                feature_views = tuple(
                    FeatureView(root, place, view) for place, view in enumerate(views)
                )
                by_node[node] = by_node.get(node, ()) + feature_views
        return by_node

    def available(self, graph: Graph, root: str, known: Collection[str]) -> list[FeatureView]:
        """Return the views of a tree that depend only on matched groups.

        The list is empty unless the views cover every member of the tree.
        """
        feature_views = [
            feature_view
            for each in self.of(graph).values()
            for feature_view in each
            if feature_view.root == root
        ]
        usable = [
            feature_view
            for feature_view in feature_views
            if feature_view.view.movable <= frozenset(known)
        ]
        shown = {name for feature_view in usable for name in feature_view.view.key.own}
        return usable if shown.issuperset(self.trees[root].members) else []
