"""Straight-through estimation: learn what to match B to, so that the midpoint loses least.

Git Re-Basin (Ainsworth et al., 2023), section 3.3.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import check_amount
from onebasin.matching._checks import check_counts, check_init, check_learning_rate, check_seed
from onebasin.matching._coordinate_descent.descent import Descent
from onebasin.matching._coordinate_descent.pair import Pair, Survey
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.starts import start_of
from onebasin.matching._losses import DataLoss, Ends, Loss, Normalization
from onebasin.matching.result import Matching, Progress, Step
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_straight_through"


@checks_arguments
def match_straight_through(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    model: nn.Module,
    data: Iterable[Any],
    loss: Loss = "cross_entropy",
    normalization: Normalization = "interpolated",
    seed: int = 0,
    max_epochs: int = 10,
    patience: int = 3,
    learning_rate: float = 1e-3,
    max_sweeps: int = 100,
    init: Permutation | None = None,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the permutation of B for which the network halfway to A loses least.

    Learns weights \(\tilde\theta\), at first A's. Each step matches B to them by weights,
    \(\pi = \arg\max \langle \tilde\theta, \pi(\theta_B) \rangle\), from where the last step
    ended, and takes the gradient of the loss at \(\frac12 (\theta_A + \pi(\theta_B))\) with
    respect to \(\pi(\theta_B)\) as that of \(\tilde\theta\) (Git Re-Basin, Eq. 6 and 7).

    Differs from the paper:
        - The first match is `match_weights` with all that it does; the others climb on.
        - After every pass over the data the last permutation, and that with the least loss
          on its batch, are evaluated on all of it, and the best one is returned. The unmoved
          B is none of them: halfway between networks that do not fit together outputs are
          bland, which costs less than being wrong at times.
        - Steps are Adam's.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference: parameters and buffers.
        params_b: what is moved: parameters and buffers.
        model: the architecture; its own parameters are not used.
        data: batches `(inputs, labels)`, such as a DataLoader; one step for each.
        loss: `cross_entropy`, `mse`, or a function of outputs and labels.
        normalization: whether BatchNorm uses the `interpolated` statistics or those of the
            `batch`; the latter for a network whose statistics will be reset.
        seed: of the order of groups.
        max_epochs: passes over the data at most.
        patience: passes without a better permutation after which the search ends.
        learning_rate: of Adam, for the weights that are learned.
        max_sweeps: of weight matching, in every step.
        init: where to begin, instead of what `match_weights` would find.
        cache_bytes: memory for similarities; see `match_weights`.
        progress: called with a `Step` after every batch; its group is empty.

    Returns:
        The matching; its objective is minus the mean loss over the data: of the first match
        (or `init`), and the best after every pass. `converged` is False where `max_epochs`
        ended it.

    Raises:
        OneBasinError: when there is no data, the model refuses a batch, a loss is not finite,
            tensors do not fit the symmetry, or a number is out of range.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> symmetry, a = infer_symmetry(net, x), net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> data = [(x, net(x).argmax(1))]
        >>> found = match_straight_through(symmetry, a, b, model=net, data=data, max_epochs=1)
        >>> all(torch.equal(found.permutation.apply(b)[name], a[name]) for name in a)
        True
    """
    began = time.perf_counter()
    check_counts(CALL, max_epochs=max_epochs, patience=patience, max_sweeps=max_sweeps)
    check_seed(CALL, seed)
    check_amount(CALL, "cache_bytes", cache_bytes)
    check_learning_rate(CALL, learning_rate)
    check_init(symmetry, init, CALL)
    losses = DataLoss(model, data, loss, normalization=normalization, call=CALL)
    pair = Pair(symmetry, params_a, params_b, call=CALL)
    survey, ends = pair.survey(), Ends(pair)
    learned = _Learned(ends, pair, learning_rate)
    match = _WarmMatch(symmetry, learned.pair, survey, seed, max_sweeps, cache_bytes)
    run = _Run(losses, ends, learned, match, init or match.after(None), progress)
    converged = run.learn(max_epochs, patience)
    return Matching(
        permutation=run.best,
        objective=tuple(run.values),
        converged=converged,
        num_sweeps=run.num_epochs,
        num_solves=match.search.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.values[-1],),
    )


class _Learned:
    """The weights that B is matched to, and their optimizer."""

    def __init__(self, ends: Ends, pair: Pair, learning_rate: float) -> None:
        self.weights = {name: ends.a[name].clone() for name in pair.names}
        self.pair = Pair(pair.symmetry, self.weights, ends.b, call=CALL)
        self.pair.survey()
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=learning_rate)

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        for name, weights in self.weights.items():
            weights.grad = gradients.get(name)
        self.optimizer.step()


class _WarmMatch:
    """Weight matching of B to the learned weights, from where it was last."""

    def __init__(
        self,
        symmetry: Symmetry,
        pair: Pair,
        survey: Survey,
        seed: int,
        max_sweeps: int,
        cache_bytes: int,
    ) -> None:
        self.symmetry, self.survey, self.seed, self.max_sweeps = symmetry, survey, seed, max_sweeps
        self.search = Search(symmetry, pair, cache_bytes=cache_bytes)

    def after(self, permutation: Permutation | None) -> Permutation:
        """Return what descent reaches from another permutation, or weight matching from none."""
        run = Descent(self.search, seed=self.seed, number=0, total=self.max_sweeps, progress=None)
        start_of(run, self.survey, permutation, self.seed)
        run.descend()
        return Permutation(self.symmetry, run.indices)


class _Run:
    """Steps over the data, and the best permutation so far."""

    def __init__(
        self,
        losses: DataLoss,
        ends: Ends,
        learned: _Learned,
        match: _WarmMatch,
        permutation: Permutation,
        progress: Progress | None,
    ) -> None:
        self.losses, self.ends, self.learned, self.match = losses, ends, learned, match
        self.permutation = self.best = permutation
        self.progress = progress
        self.values = [self._value(permutation)]
        self.num_epochs = 0

    def learn(self, max_epochs: int, patience: int) -> bool:
        """Learn until nothing better came for some passes; return whether that is why it ended."""
        since = 0
        while self.num_epochs < max_epochs:
            since = 0 if self._epoch() else since + 1
            if since == patience:
                return True
        return False

    def _epoch(self) -> bool:
        """Take a step for every batch; return whether a better permutation came up."""
        self.num_epochs += 1
        promising, least = self.permutation, float("inf")
        for number, batch in enumerate(self.losses.data):
            self.permutation = self.match.after(self.permutation)
            value = self._step(batch, number)
            if value < least:
                promising, least = self.permutation, value
            self._tell(number + 1)
        before = self.values[-1]
        self._consider([self.permutation, promising])
        return self.values[-1] > before

    def _step(self, batch: Any, number: int) -> float:
        between = self.ends.between(self.ends.moved(self.permutation))
        leaves = {n: between[n].detach().requires_grad_() for n in self.learned.weights}
        value = self.losses.of_batch({**between, **leaves}, batch, number)
        gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        halves = {n: g / 2 for n, g in zip(leaves, gradients, strict=True) if g is not None}
        self.learned.step(halves)
        return float(value.detach())

    def _consider(self, permutations: list[Permutation]) -> None:
        best = self.values[-1]
        for permutation in permutations:
            if permutation.equals(self.best):
                continue
            value = self._value(permutation)
            if value > best:
                self.best, best = permutation, value
        self.values.append(best)

    def _value(self, permutation: Permutation) -> float:
        return -self.losses.mean(self.ends.between(self.ends.moved(permutation)))

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            length = getattr(self.losses.data, "__len__", None)
            total = max(done, length()) if length else done
            self.progress(Step(0, self.num_epochs, "", done, total, self.values[-1]))
