"""Seen trees: the similarities of features, gathered in passes over the data."""

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
from onebasin.matching._features.sights import Sights
from onebasin.matching._features.similarity import FeatureSimilarity, Statistic
from onebasin.matching.result import Progress, Step


class SeenTrees:
    """What features show of the trees of a search.

    Args:
        search: has the trees, both networks, and the indices by which B is moved.
        features: of the model on the data.
        statistic: of the similarities.
        position: of the sites.
        call: the public function that is running, for messages.
        progress: called with a `Step` after every batch.
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
        self.sights = Sights(search.symmetry, search.trees, position, call)
        self.call, self.progress = call, progress
        self.num_passes = 0

    def ready(self, roots: Iterable[str], known: Collection[str], cache_bytes: int) -> list[str]:
        """Return the trees whose similarities can be gathered, as many as fit into memory.

        Args:
            roots: of the trees to choose from.
            known: groups that are matched already.
            cache_bytes: for the similarities; one tree is returned even if it needs more.
        """
        chosen: list[str] = []
        left, size = cache_bytes, self.search.pair.dtype.itemsize
        for root in roots:
            sights = self.sights.ready(self.features.graph, root, known)
            tree = self.search.trees[root]
            keys = {sight.view.key for sight in sights}
            needed = size * sum(key.num_outer(tree) * key.num_own(tree) ** 2 for key in keys)
            if sights and (needed <= left or not chosen):
                chosen.append(root)
                left -= needed
        return chosen

    def gather(
        self, roots: Sequence[str], known: Collection[str] = ()
    ) -> dict[str, dict[Key, Tensor]]:
        """Return the similarities of some trees, summed over all of the data in one pass.

        Args:
            roots: of the trees.
            known: groups whose indices mean something.

        Raises:
            OneBasinError: when features are not finite, or their products overflow.
        """
        self.num_passes += 1
        found = {r: FeatureSimilarity(self.search.trees[r], self.statistic) for r in roots}
        known = frozenset(known)

        def visit_of(passage: BatchContext) -> MultiForwardHook:
            sights = self.sights.of(passage.graph)

            def visit(name: str, values: Sequence[Tensor]) -> None:
                for sight in sights.get(name, ()):
                    if sight.root in found and sight.view.movable <= known:
                        a, b = (value.contiguous() for value in values)
                        place, indices = (name, sight.place), self.search.indices
                        sums = found[sight.root]
                        if not sums.add(place, sight.view, a, b, indices, passage.weight):
                            check_finite(values, passage.graph, name, self.call)

            return visit

        params = [self.search.pair.params["A"], self.search.pair.params["B"]]
        self.features.run(params, visit_of, progress=self._tell)
        return {root: self._checked(root, sums.result()) for root, sums in found.items()}

    def _checked(self, root: str, sums: dict[Key, Tensor]) -> dict[Key, Tensor]:
        if not all(bool(torch.isfinite(values).all()) for values in sums.values()):
            raise OneBasinError(
                f"{self.call}: products of features of group {root!r} overflow; check the weights "
                "of both networks, or convert them to float64"
            )
        return sums

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            length = getattr(self.features.data, "__len__", None)
            total = max(done, length()) if length else done
            self.progress(Step(0, self.num_passes, "", done, total, 0.0))
