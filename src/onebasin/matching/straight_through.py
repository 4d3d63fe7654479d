"""Straight-through estimation: optimize the matching target for the midpoint loss.

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
from onebasin.matching._coordinate_descent.pair import Pair, PairStats
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._losses import DataLoss, Endpoints, Loss, Normalization
from onebasin.matching.result import Matching, Progress, Step
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


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
    r"""Find the permutation of B that minimizes the loss at the midpoint to A.

    Optimizes weights \(\tilde\theta\), initialized with A. Each step matches B to them by
    weights, \(\pi = \arg\max \langle \tilde\theta, \pi(\theta_B) \rangle\), starting from the
    previous permutation. The gradient of the loss at \(\frac12 (\theta_A + \pi(\theta_B))\)
    with respect to \(\pi(\theta_B)\) updates \(\tilde\theta\) (Git Re-Basin, Eq. 6 and 7).

    Differs from the paper:
        - The first match is a full `match_weights`; later ones continue from the previous one.
        - After every pass over the data, two permutations are evaluated on all data: the last
          one, and the one with the lowest loss on its batch. The best one is returned. The
          identity is not a candidate: the midpoint of unaligned networks gives near-uniform
          predictions, whose loss can be lower than a confident wrong one.
        - The optimizer is Adam.

    Args:
        symmetry: symmetry of the architecture.
        params_a: parameters and buffers of A, the reference.
        params_b: parameters and buffers of B, the network to permute.
        model: the architecture; its own parameters are ignored.
        data: batches `(inputs, labels)`, such as a DataLoader; one step for each.
        loss: `cross_entropy`, `mse`, or a function of outputs and labels.
        normalization: whether BatchNorm uses the `interpolated` statistics or those of the
            `batch`. Use `batch` if the statistics will be reset afterwards.
        seed: random seed for the group order.
        max_epochs: maximum number of passes over the data.
        patience: number of passes without improvement after which the search stops.
        learning_rate: learning rate of Adam.
        max_sweeps: maximum number of sweeps of weight matching in every step.
        init: the initial permutation, instead of the result of `match_weights`.
        cache_bytes: memory for similarities; see `match_weights`.
        progress: callback with a `Step` after every batch; its group is empty.

    Returns:
        The matching. Its objective is minus the mean loss over the data: of the first match
        (or `init`), and the best one after every pass. `converged` is False if `max_epochs` was
        reached.

    Raises:
        OneBasinError: the data are empty, the model fails on a batch, a loss is not finite,
            tensors do not match the symmetry, or a number is out of range.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> symmetry, a = infer_symmetry(net, x), net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> data = [(x, net(x).argmax(1))]
        >>> matching = match_straight_through(symmetry, a, b, model=net, data=data, max_epochs=1)
        >>> all(torch.equal(matching.permutation.apply(b)[name], a[name]) for name in a)
        True
    """
    began = time.perf_counter()
    check_counts(max_epochs=max_epochs, patience=patience, max_sweeps=max_sweeps)
    check_seed(seed)
    check_amount("cache_bytes", cache_bytes)
    check_learning_rate(learning_rate)
    check_init(symmetry, init)
    losses = DataLoss(model, data, loss, normalization=normalization)
    pair = Pair(symmetry, params_a, params_b)
    stats, endpoints = pair.compute_stats(), Endpoints(pair)
    learned = _Learned(endpoints, pair, learning_rate)
    match = _WarmMatch(symmetry, learned.pair, stats, seed, max_sweeps, cache_bytes)
    run = _Run(losses, endpoints, learned, match, init or match.after(None), progress)
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
    """The optimized weights that B is matched to."""

    def __init__(self, endpoints: Endpoints, pair: Pair, learning_rate: float) -> None:
        self.weights = {name: endpoints.a[name].clone() for name in pair.names}
        self.pair = Pair(pair.symmetry, self.weights, endpoints.b)
        self.pair.compute_stats()
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=learning_rate)

    def step(self, gradients: Mapping[str, Tensor]) -> None:
        for name, weights in self.weights.items():
            weights.grad = gradients.get(name)
        self.optimizer.step()


class _WarmMatch:
    """Weight matching of B to the optimized weights, from the previous permutation."""

    def __init__(
        self,
        symmetry: Symmetry,
        pair: Pair,
        stats: PairStats,
        seed: int,
        max_sweeps: int,
        cache_bytes: int,
    ) -> None:
        self.symmetry, self.stats, self.seed, self.max_sweeps = symmetry, stats, seed, max_sweeps
        self.search = Search(symmetry, pair, cache_bytes=cache_bytes)

    def after(self, permutation: Permutation | None) -> Permutation:
        """Return the result of descent from a permutation, or of weight matching for None."""
        run = Descent(self.search, seed=self.seed, number=0, total=self.max_sweeps, progress=None)
        run.initialize(self.stats, permutation)
        run.descend()
        return Permutation(self.symmetry, run.indices)


class _Run:
    """Steps over the data, and the best permutation so far."""

    def __init__(
        self,
        losses: DataLoss,
        endpoints: Endpoints,
        learned: _Learned,
        match: _WarmMatch,
        permutation: Permutation,
        progress: Progress | None,
    ) -> None:
        self.losses, self.endpoints, self.learned, self.match = losses, endpoints, learned, match
        self.permutation = self.best = permutation
        self.progress = progress
        self.values = [self._value(permutation)]
        self.num_epochs = 0

    def learn(self, max_epochs: int, patience: int) -> bool:
        """Train until `patience` passes bring no improvement; return whether this happened."""
        since = 0
        while self.num_epochs < max_epochs:
            since = 0 if self._epoch() else since + 1
            if since == patience:
                return True
        return False

    def _epoch(self) -> bool:
        """Take a step for every batch; return whether the best permutation improved."""
        self.num_epochs += 1
        promising, lowest = self.permutation, float("inf")
        for number, batch in enumerate(self.losses.data):
            self.permutation = self.match.after(self.permutation)
            value = self._step(batch, number)
            if value < lowest:
                promising, lowest = self.permutation, value
            self._report(number + 1)
        before = self.values[-1]
        self._consider([self.permutation, promising])
        return self.values[-1] > before

    def _step(self, batch: Any, number: int) -> float:
        between = self.endpoints.between(self.endpoints.moved(self.permutation))
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
        return -self.losses.mean(self.endpoints.between(self.endpoints.moved(permutation)))

    def _report(self, done: int) -> None:
        if self.progress is not None:
            length = getattr(self.losses.data, "__len__", None)
            total = max(done, length()) if length else done
            self.progress(Step(0, self.num_epochs, "", done, total, self.values[-1]))
