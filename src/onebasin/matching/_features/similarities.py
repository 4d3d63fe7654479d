"""Similarities of the features of both networks, computed in passes over the data.

A tree is matched by the values at the sites of its members. A value with other groups can be
used only after these are matched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onebasin.errors import ArgumentError
from onebasin.graph._sites import Position, find_sites, map_groups
from onebasin.graph.features import BatchContext, Features, check_finite
from onebasin.graph.graph import Graph, MultiForwardHook
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key, Tree, View, views_of
from onebasin.matching._features.similarity import FeatureSimilarity, Statistic
from onebasin.matching.result import Progress, Step
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
    """

    def __init__(self, symmetry: Symmetry, trees: Mapping[str, Tree], position: Position) -> None:
        self.symmetry, self.trees = symmetry, trees
        self.position: Position = position
        self._by_graph: dict[int, tuple[Graph, dict[str, tuple[FeatureView, ...]]]] = {}

    def of(self, graph: Graph) -> Mapping[str, tuple[FeatureView, ...]]:
        """Return the views by node of a graph."""
        if id(graph) not in self._by_graph:
            self._by_graph[id(graph)] = graph, self._collect_views(graph)
        return self._by_graph[id(graph)][1]

    def _collect_views(self, graph: Graph) -> dict[str, tuple[FeatureView, ...]]:
        features = map_groups(graph, self.symmetry)
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


class FeatureSimilarities:
    """Feature similarities of the trees of a search.

    Args:
        search: search with the trees, both networks, and the indices of B.
        features: features of the model on the data.
        statistic: statistic of the similarities.
        position: position of the sites.
        params: both networks; those of the search by default.
        progress: callback with a `Step` after every batch.
    """

    def __init__(
        self,
        search: Search,
        features: Features,
        statistic: Statistic,
        position: Position,
        *,
        params: Sequence[Mapping[str, Tensor]] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.search, self.features = search, features
        self.params = params or [search.pair.params["A"], search.pair.params["B"]]
        self.statistic: Statistic = statistic
        self.feature_views = FeatureViews(search.symmetry, search.trees, position)
        self.progress = progress
        self.num_passes = 0

    def available(
        self, roots: Iterable[str], known: Collection[str], cache_bytes: int
    ) -> list[str]:
        """Return the trees whose similarities can be computed and fit into memory.

        Args:
            roots: roots of the candidate trees.
            known: matched groups.
            cache_bytes: memory for the similarities; one tree is always returned.
        """
        chosen: list[str] = []
        left, size = cache_bytes, self.search.pair.dtype.itemsize
        for root in roots:
            feature_views = self.feature_views.available(self.features.graph, root, known)
            tree = self.search.trees[root]
            keys = {feature_view.view.key for feature_view in feature_views}
            needed = size * sum(key.num_outer(tree) * key.num_own(tree) ** 2 for key in keys)
            if feature_views and (needed <= left or not chosen):
                chosen.append(root)
                left -= needed
        return chosen

    def compute(
        self, roots: Sequence[str], known: Collection[str] = ()
    ) -> dict[str, dict[Key, Tensor]]:
        """Return the similarities of some trees, summed over the data in one pass.

        Args:
            roots: roots of the trees.
            known: matched groups.

        Raises:
            OneBasinError: features are not finite, or their products overflow.
        """
        self.num_passes += 1
        totals = {r: FeatureSimilarity(self.search.trees[r], self.statistic) for r in roots}
        known = frozenset(known)

        def make_hook(context: BatchContext) -> MultiForwardHook:
            feature_views = self.feature_views.of(context.graph)

            def hook(name: str, values: Sequence[Tensor]) -> None:
                for feature_view in feature_views.get(name, ()):
                    if feature_view.root in totals and feature_view.view.movable <= known:
                        a, b = (value.contiguous() for value in values)
                        place, indices = (name, feature_view.place), self.search.indices
                        sums = totals[feature_view.root]
                        if not sums.add(place, feature_view.view, a, b, indices, context.weight):
                            check_finite(values, context.graph, name)

            return hook

        self.features.run(self.params, make_hook, progress=self._report)
        return {root: self._checked(root, sums.result()) for root, sums in totals.items()}

    def _checked(self, root: str, sums: dict[Key, Tensor]) -> dict[Key, Tensor]:
        if not all(bool(torch.isfinite(values).all()) for values in sums.values()):
            raise ArgumentError(
                f"products of features of group {root!r} overflow; check the weights "
                "of both networks, or convert them to float64"
            )
        return sums

    def _report(self, done: int) -> None:
        if self.progress is not None:
            length = getattr(self.features.data, "__len__", None)
            total = max(done, length()) if length else done
            self.progress(Step(0, self.num_passes, "", done, total, 0.0))
