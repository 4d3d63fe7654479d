"""Similarities of the features of both networks, computed in passes over the data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.graph.features import BatchContext, Features, check_finite
from onebasin.graph.graph import MultiForwardHook
from onebasin.graph.sites import Position
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key
from onebasin.matching._features.feature_views import FeatureViews
from onebasin.matching._features.similarity import FeatureSimilarity, Statistic
from onebasin.matching.result import Progress, Step


class FeatureSimilarities:
    """Feature similarities of the trees of a search.

    Args:
        search: search with the trees, both networks, and the indices of B.
        features: features of the model on the data.
        statistic: statistic of the similarities.
        position: position of the sites.
        call: name of the public function, for messages.
        progress: callback with a `Step` after every batch.
    """

    def __init__(
        self,
        search: Search,
        features: Features,
        statistic: Statistic,
        position: Position,
        *,
        call: str,
        progress: Progress | None = None,
    ) -> None:
        self.search, self.features = search, features
        self.statistic: Statistic = statistic
        self.feature_views = FeatureViews(search.symmetry, search.trees, position, call)
        self.call, self.progress = call, progress
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
                            check_finite(values, context.graph, name, self.call)

            return hook

        params = [self.search.pair.params["A"], self.search.pair.params["B"]]
        self.features.run(params, make_hook, progress=self._report)
        return {root: self._checked(root, sums.result()) for root, sums in totals.items()}

    def _checked(self, root: str, sums: dict[Key, Tensor]) -> dict[Key, Tensor]:
        if not all(bool(torch.isfinite(values).all()) for values in sums.values()):
            raise OneBasinError(
                f"{self.call}: products of features of group {root!r} overflow; check the weights "
                "of both networks, or convert them to float64"
            )
        return sums

    def _report(self, done: int) -> None:
        if self.progress is not None:
            length = getattr(self.features.data, "__len__", None)
            total = max(done, length()) if length else done
            self.progress(Step(0, self.num_passes, "", done, total, 0.0))
