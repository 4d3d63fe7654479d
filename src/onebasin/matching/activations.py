"""Activation matching: the permutation of B whose features are most like A's.

Git Re-Basin (Ainsworth et al., 2023), section 3.1; with correlations Li et al. (2016),
"Convergent Learning". One pass over data, one assignment for each group.
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
from onebasin.graph.features import Features
from onebasin.graph.sites import Position
from onebasin.matching._assignment.linear import assign
from onebasin.matching._coordinate_descent.runs import begin_search
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key
from onebasin.matching._features.seen import SeenTrees
from onebasin.matching._features.similarity import Statistic
from onebasin.matching.result import Matching, Progress, Step
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_activations"

SWEEPS = 10
"""Sweeps at most over what features do not show: hidden groups, then dead units."""


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
    r"""Find the permutation of B that makes its features most like A's.

    For every group \(\arg\max_P \langle P, Z_A Z_B^\top\rangle\) (Git Re-Basin, Eq. 2), where
    row i of \(Z\) are the features of unit i: over all examples, and over the positions of
    an image or a sequence. Features are taken at the nodes of the traced graph, also where
    no module returns them. Memory does not depend on the number of examples.

    Differs from the paper:
        - Any symmetry: a group on a residual stream is matched by all values that the
          layers behind it see, and units nested in others for every pair of outer units.
        - A group whose units lie on one value together with others' waits until these are
          matched; then the data is read once more, as it is where the similarities of all
          groups do not fit into `cache_bytes`.
        - Groups that no value shows (in a product of two matrices, say) are matched by weights;
          so are, among themselves, units that never vary in both networks (dead ones), unless
          other groups nest in theirs. A dead unit of B that is left for a live one of A is any.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference: parameters and buffers.
        params_b: what is moved: parameters and buffers.
        model: the architecture, as it was traced; its own parameters are not used.
        data: batches `(inputs, labels)` or inputs alone, such as a DataLoader; labels are not
            used.
        statistic: `inner` (product) or `correlation` of features.
        position: `post` (what the next layer sees) or `pre` (what enters the nonlinearity).
        cache_bytes: memory for similarities in one pass over the data.
        progress: called with a `Step` after every batch and after every group.

    Returns:
        The matching; its objective is the sum of the similarities of matched units, for
        the unmoved B and at the end.

    Raises:
        OneBasinError: when there is no data, the model refuses a batch, features are not
            finite, or tensors do not fit the symmetry.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> symmetry = infer_symmetry(net, x)
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_activations(symmetry, a, b, model=net, data=[x]).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    check_choice(CALL, "statistic", statistic, Statistic)
    check_choice(CALL, "position", position, Position)
    began = time.perf_counter()
    search, _ = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes, call=CALL)
    features = Features(model, data, call=CALL)
    seen = SeenTrees(search, features, statistic, position, call=CALL, progress=progress)
    run = _Run(search, seen, progress)
    run.match_shown(cache_bytes)
    run.match_hidden()
    run.match_dead()
    return Matching(
        permutation=Permutation(symmetry, search.indices),
        objective=(run.before, run.after),
        converged=True,
        num_sweeps=seen.num_passes,
        num_solves=search.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.after,),
    )


class _Run:
    """Passes over the data until all that can be seen is matched.

    Args:
        search: holds the trees, their solvers and the indices.
        seen: what features show of them.
        progress: see `match_activations`.
    """

    def __init__(self, search: Search, seen: SeenTrees, progress: Progress | None) -> None:
        self.search, self.seen, self.progress = search, seen, progress
        self.waiting = list(search.trees)
        self.known: set[str] = set()
        self.dead: dict[str, Tensor] = {}
        self.before = self.after = 0.0

    def match_shown(self, cache_bytes: int) -> None:
        """Match every tree that features show."""
        while roots := self.seen.ready(self.waiting, self.known, cache_bytes):
            similarities = self.seen.gather(roots, self.known)
            for done, root in enumerate(roots, start=1):
                self._match(root, similarities[root])
                self.waiting.remove(root)
                if self.progress is not None:
                    passes = self.seen.num_passes
                    self.progress(Step(0, passes, root, done, len(roots), self.after))

    def _match(self, root: str, sums: Mapping[Key, Tensor]) -> None:
        self.before += self.search.value(root, sums)
        solver = self.search.solvers[root]
        self.search.num_solves += 1
        self.search.indices.update(solver.solve(sums, self.search.indices))
        self.known.update(self.search.trees[root].members)
        self.after += self.search.value(root, sums)
        if self.search.trees[root].members == (root,):
            self.dead[root] = _dead(sums, self.search.indices[root])

    def match_hidden(self) -> None:
        """Match by weights what no feature shows."""
        for _ in range(SWEEPS if self.waiting else 0):
            if not any([self.search.step(root).moved for root in self.waiting]):
                break

    def match_dead(self) -> None:
        """Match by weights the units that features do not tell apart from each other."""
        for _ in range(SWEEPS):
            if not any([self._match_some(root, units) for root, units in self.dead.items()]):
                break

    def _match_some(self, root: str, units: Int[Tensor, " m"]) -> bool:
        """Match some units of A to the partners that they have; return whether that gained."""
        sums = self.search.similarities(root) if len(units) > 1 else {}
        if not sums:
            return False
        index = self.search.indices[root].clone()
        (values,) = torch.stack(list(sums.values())).sum(0)
        self.search.num_solves += 1
        index[units] = index[units][assign(values[units][:, index[units]])]
        changed = {root: index}
        _, exceeds = self.search.gain(root, sums, changed, judged=self.search.judged[root])
        if exceeds:
            self.search.indices.update(changed)
        return exceeds


def _dead(
    sums: Mapping[Key, Float[Tensor, "o n n"]], index: Int[Tensor, "*outer n"]
) -> Int[Tensor, " m"]:
    """Return the units of A that are as similar to all of B as to one, their partners likewise."""
    (values,) = sums.values()
    if len(values) > 1:  # a problem for every unit that they nest in
        return index.new_empty(0)
    rows, columns = ((each == each[:, :1]).all(1) for each in (values[0], values[0].T))
    return (rows & columns[index.flatten()]).nonzero().flatten()
