"""Activation matching: align the features of B with those of A.

Git Re-Basin (Ainsworth et al., 2023), section 3.1. With correlations, Li et al. (2016),
"Convergent Learning". One pass over the data and one assignment for each group.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import check_choice
from onebasin.graph._sites import Position
from onebasin.graph.features import Features
from onebasin.matching._assignment.linear import assign
from onebasin.matching._coordinate_descent.runs import begin_search
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key
from onebasin.matching._features.similarities import FeatureSimilarities
from onebasin.matching._features.similarity import Statistic
from onebasin.matching.result import Matching, Progress, Step
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

SWEEPS = 10
"""Maximum number of sweeps over hidden groups and over dead units, which are matched by weights."""


@checks_arguments
def match_activations(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    model: nn.Module,
    data: Iterable[Any],
    statistic: Statistic = "inner",
    position: Position = "post",
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the permutation of B that maximizes the similarity of its features to A's.

    Solves \(\arg\max_P \langle P, Z_A Z_B^\top\rangle\) for every group (Git Re-Basin, Eq. 2).
    Row i of \(Z\) holds the features of unit i over all examples, and over the positions of
    an image or a sequence. Features are values of nodes of the traced graph, not only outputs
    of modules. Memory does not depend on the number of examples.

    Differs from the paper:
        - Supports any symmetry: a group on a residual stream is matched by all values that
          later layers read. Nested units are matched for every pair of outer units.
        - A group that shares a value with other groups is matched after these, in another
          pass over the data. Further passes are also needed if the similarities of all groups
          do not fit into `cache_bytes`.
        - Groups without a visible value, such as in a product of two matrices, are matched by
          weights. So are constant (dead) units among themselves, unless their group has
          nested groups. A live unit of A may be matched to an arbitrary dead unit of B.

    Args:
        symmetry: symmetry of the architecture.
        params_a: parameters and buffers of A, the reference.
        params_b: parameters and buffers of B, the network to permute.
        model: the traced architecture; its own parameters are ignored.
        data: batches `(inputs, labels)` or inputs, such as a DataLoader; labels are ignored.
        statistic: `inner` (product) or `correlation` of features.
        position: `post` (input of the next layer) or `pre` (input of the nonlinearity).
        cache_bytes: memory for similarities in one pass over the data.
        progress: callback with a `Step` after every batch and after every group.

    Returns:
        The matching. Its objective is the sum of the similarities of matched units, before
        and after.

    Raises:
        OneBasinError: the data are empty, the model fails on a batch, features are not finite,
            or tensors do not match the symmetry.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> symmetry = infer_symmetry(net, x)
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_activations(symmetry, a, b, model=net, data=[x]).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    check_choice("statistic", statistic, Statistic)
    check_choice("position", position, Position)
    began = time.perf_counter()
    search, _ = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes)
    features = Features(model, data)
    feature_similarities = FeatureSimilarities(
        search, features, statistic, position, progress=progress
    )
    run = _Run(search, feature_similarities, progress)
    run.match_shown(cache_bytes)
    run.match_hidden()
    run.match_dead()
    return Matching(
        permutation=Permutation(symmetry, search.indices),
        objective=(run.before, run.after),
        converged=True,
        num_sweeps=feature_similarities.num_passes,
        num_solves=search.num_solves + run.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.after,),
    )


class _Run:
    """Passes over the data until all visible groups are matched.

    Args:
        search: search with the trees, their solvers and the indices.
        feature_similarities: feature similarities of the trees.
        progress: see `match_activations`.
    """

    def __init__(
        self, search: Search, feature_similarities: FeatureSimilarities, progress: Progress | None
    ) -> None:
        self.search, self.progress = search, progress
        self.feature_similarities = feature_similarities
        self.waiting = list(search.trees)
        self.known: set[str] = set()
        self.dead: dict[str, Tensor] = {}
        self.before = self.after = 0.0
        self.num_solves = 0

    def match_shown(self, cache_bytes: int) -> None:
        """Match every tree with visible features."""
        while roots := self.feature_similarities.available(self.waiting, self.known, cache_bytes):
            similarities = self.feature_similarities.compute(roots, self.known)
            for done, root in enumerate(roots, start=1):
                self._match(root, similarities[root])
                self.waiting.remove(root)
                if self.progress is not None:
                    passes = self.feature_similarities.num_passes
                    self.progress(Step(0, passes, root, done, len(roots), self.after))

    def _match(self, root: str, sums: Mapping[Key, Tensor]) -> None:
        self.before += self.search.value(root, sums)
        self.search.move(self.search.solve(root, sums))
        self.known.update(self.search.trees[root].members)
        self.after += self.search.value(root, sums)
        if self.search.trees[root].members == (root,):
            self.dead[root] = _dead(sums, self.search.indices[root])

    def match_hidden(self) -> None:
        """Match by weights the trees without visible features."""
        for _ in range(SWEEPS if self.waiting else 0):
            if not any([self.search.step(root).moved for root in self.waiting]):
                break

    def match_dead(self) -> None:
        """Match by weights the units with constant features."""
        for _ in range(SWEEPS):
            if not any([self._match_some(root, units) for root, units in self.dead.items()]):
                break

    def _match_some(self, root: str, units: Int[Tensor, " m"]) -> bool:
        """Rematch some units of A to their partners; return whether the objective improved."""
        sums = self.search.similarities(root) if len(units) > 1 else {}
        if not sums:
            return False
        index = self.search.indices[root].clone()
        (values,) = torch.stack(list(sums.values())).sum(0)
        self.num_solves += 1
        index[units] = index[units][assign(values[units][:, index[units]])]
        changed = {root: index}
        _, exceeds = self.search.gain(root, sums, changed, exact=self.search.is_nonlinear[root])
        if exceeds:
            self.search.move(changed)
        return exceeds


def _dead(
    sums: Mapping[Key, Float[Tensor, "o n n"]], index: Int[Tensor, "*outer n"]
) -> Int[Tensor, " m"]:
    """Return the units of A whose similarities are constant, as are those of their partners."""
    (values,) = sums.values()
    if len(values) > 1:  # one problem for every outer unit
        return index.new_empty(0)
    rows, columns = ((each == each[:, :1]).all(1) for each in (values[0], values[0].T))
    return (rows & columns[index.flatten()]).nonzero().flatten()
