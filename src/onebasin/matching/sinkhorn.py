"""Sinkhorn matching: soft permutations, optimized by gradients and rounded.

Sinkhorn re-basin (Peña et al., 2023), with an objective on weights or on losses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin._random import generator_for
from onebasin.errors import ArgumentError, check_choice
from onebasin.matching._checks import check_counts, check_init, check_learning_rate, check_seed
from onebasin.matching._coordinate_descent.network_set import NetworkSet
from onebasin.matching._losses import DataLoss, Endpoints, Loss, Normalization
from onebasin.matching._relaxation.objective import InnerProductObjective
from onebasin.matching._relaxation.relaxation import Relaxation
from onebasin.matching._relaxation.sinkhorn import Gradient, sinkhorn
from onebasin.matching.result import Matching, Progress, Step
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

Objective: TypeAlias = Literal["weights", "midpoint", "path"]

SHARPNESS = 4.0
"""Margin of the logits of an initial permutation over the others, in addition to log n."""

NOISE = 1e-3
"""Standard deviation of the initial logits, which breaks ties."""

CONVERGED = 0.99
"""Sharpness of the soft permutations at which the optimization stops."""


@checks_arguments
def match_sinkhorn(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    objective: Objective | None = None,
    model: nn.Module | None = None,
    data: Iterable[Any] | None = None,
    loss: Loss = "cross_entropy",
    normalization: Normalization = "interpolated",
    gradient: Gradient = "implicit",
    seed: int = 0,
    max_steps: int = 200,
    learning_rate: float = 0.1,
    num_rounds: int = 20,
    check_every: int = 20,
    init: Permutation | None = None,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the permutation of B by gradient descent on soft permutations.

    Every group has a matrix of logits. Sinkhorn's operator makes it doubly stochastic, and the
    result is applied to B. Adam optimizes the logits to maximize
    \(\langle \theta_A, P(\theta_B) \rangle\) (`weights`), or to minimize the loss at
    \(\frac12 (\theta_A + P(\theta_B))\) (`midpoint`) or at a random point between the two in
    each step (`path`).

    Differs from the paper:
        - Supports any symmetry: nested units have a matrix for every pair of outer units.
        - `weights` is the inner product, not the distance. For permutations they are
          equivalent, but the distance prefers soft matrices, which rounding destroys.
        - Every `check_every` steps the soft permutation is rounded by assignment and
          evaluated, on all data if given. The best permutation is returned, which is never
          worse than the initial one.

    Args:
        symmetry: symmetry of the architecture.
        params_a: parameters of A, the reference; with data, also its buffers.
        params_b: parameters of B, the network to permute; with data, also its buffers.
        objective: `weights`, which needs no data, or `midpoint` or `path`. The default is
            `midpoint` with data, otherwise `weights`.
        model: the architecture; its own parameters are ignored.
        data: batches `(inputs, labels)`, such as a DataLoader; one for each step.
        loss: `cross_entropy`, `mse`, or a function of outputs and labels.
        normalization: whether BatchNorm uses the `interpolated` statistics or those of the
            `batch`. Use `batch` if the statistics will be reset afterwards.
        gradient: gradient of Sinkhorn's operator: `implicit` (one linear system for each
            group) or `unrolled` (memory for all rounds).
        seed: random seed for the initial logits and the random points.
        max_steps: maximum number of steps of Adam.
        learning_rate: learning rate of Adam.
        num_rounds: number of rounds of Sinkhorn's operator.
        check_every: number of steps between roundings.
        init: the initial permutation, by default uniform matrices.
        progress: callback with a `Step` after every step; its group is empty.

    Returns:
        The matching. Its objective is `<A, P(B)>` or minus the mean loss over the data: the
        initial value, and the best one after every rounding. For `path` it is the mean over
        seven points between the endpoints. `converged` is False if the matrices are still soft
        after `max_steps`.

    Raises:
        OneBasinError: required data are missing, the model fails on a batch, a loss is not
            finite, tensors do not match the symmetry, or a number is out of range.

    Example:
        >>> from onebasin import infer_symmetry
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_sinkhorn(symmetry, a, b).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    began = time.perf_counter()
    objective = objective or ("weights" if data is None else "midpoint")
    check_choice("objective", objective, Objective)
    check_choice("gradient", gradient, Gradient)
    check_init(symmetry, init)
    check_counts(max_steps=max_steps, num_rounds=num_rounds, check_every=check_every)
    check_seed(seed)
    check_learning_rate(learning_rate)
    network_set = NetworkSet(symmetry, [params_a, params_b], labels=("A", "B"))
    relaxation = Relaxation(symmetry)
    if objective == "weights":
        objective_fn: _Weights | _Losses = _Weights(network_set, relaxation)
    elif model is None or data is None:
        raise ArgumentError(
            f"objective {objective!r} needs model and data; pass both, or use 'weights'"
        )
    else:
        losses = DataLoss(model, data, loss, normalization=normalization)
        objective_fn = _Losses(losses, Endpoints(network_set.pairs[0]), relaxation, objective, seed)

    def soften(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            group: sinkhorn(values, gradient=gradient, num_rounds=num_rounds)
            for group, values in logits.items()
        }

    run = _Run(objective_fn, relaxation, soften, init, seed, network_set.dtype)
    run.optimize(max_steps, learning_rate, check_every, progress)
    return Matching(
        permutation=run.best,
        objective=tuple(run.values),
        converged=run.converged,
        num_sweeps=run.num_steps,
        num_solves=run.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.values[-1],),
    )


class _Weights:
    """The inner product with A, divided by the product of both norms."""

    def __init__(self, network_set: NetworkSet, relaxation: Relaxation) -> None:
        self.objective, self.pair = (
            InnerProductObjective(network_set, relaxation),
            network_set.pairs[0],
        )
        self.scale = self.pair.compute_stats().bound or 1.0

    def backward(self, soft: Mapping[str, Tensor]) -> None:
        """Propagate the gradients of the objective to the soft permutations."""
        _, (gradients,) = self.objective.gradients([dict(soft)])
        scaled = [-gradients[group] / self.scale for group in soft]
        torch.autograd.backward(list(soft.values()), scaled)

    def value(self, permutation: Permutation) -> float:
        """Return the objective of a permutation."""
        return self.pair.objective(permutation.indices)


class _Losses:
    """The loss at the midpoint, or at random points of the path."""

    def __init__(
        self,
        losses: DataLoss,
        endpoints: Endpoints,
        relaxation: Relaxation,
        objective: Objective,
        seed: int,
    ) -> None:
        self.losses, self.endpoints, self.relaxation = losses, endpoints, relaxation
        self.random = objective == "path"
        self.fractions = [place / 8 for place in range(1, 8)] if self.random else [0.5]
        self.generator = generator_for(seed, "path")
        self.batches = self._endless()

    def _endless(self) -> Iterator[tuple[int, Any]]:
        while True:
            yield from enumerate(self.losses.data)

    def backward(self, soft: Mapping[str, Tensor]) -> None:
        """Propagate the gradients of the loss on one batch to the soft permutations."""
        number, batch = next(self.batches)
        moved = {}
        for name in self.endpoints.moving:
            tensor = self.endpoints.b[name]
            fitting = {g: soft[g].to(tensor.dtype) for g in self.relaxation.groups_of(name)}
            moved[name] = self.relaxation.move(name, tensor, fitting)
        fraction = float(torch.rand((), generator=self.generator)) if self.random else 0.5
        self.losses.of_batch(self.endpoints.between(moved, fraction), batch, number).backward()

    def value(self, permutation: Permutation) -> float:
        """Return minus the mean loss of a permutation on all data."""
        moved = self.endpoints.moved(permutation)
        values = [
            self.losses.mean(self.endpoints.between(moved, fraction)) for fraction in self.fractions
        ]
        return -sum(values) / len(values)


class _Run:
    """The logits, and the best rounded permutation."""

    def __init__(
        self,
        objective_fn: _Weights | _Losses,
        relaxation: Relaxation,
        soften: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
        init: Permutation | None,
        seed: int,
        dtype: torch.dtype,
    ) -> None:
        self.objective_fn, self.relaxation, self.soften = objective_fn, relaxation, soften
        self.best = init or Permutation.identity(relaxation.symmetry)
        self.values = [objective_fn.value(self.best)]
        self.converged, self.num_steps, self.num_solves = not relaxation.shapes, 0, 0
        self.logits = {
            name: torch.randn(shape, generator=generator_for(seed, name), dtype=dtype) * NOISE
            for name, shape in relaxation.shapes.items()
        }
        if init is not None:
            for name, matrices in relaxation.vertex(init, dtype).items():
                firm = SHARPNESS + torch.tensor(float(matrices.shape[-1])).log()
                self.logits[name] += firm * matrices
        for logits in self.logits.values():
            logits.requires_grad_()

    def optimize(
        self, max_steps: int, learning_rate: float, check_every: int, progress: Progress | None
    ) -> None:
        """Take steps of Adam with regular rounding until convergence."""
        if self.converged:
            return
        optimizer = torch.optim.Adam(self.logits.values(), lr=learning_rate)
        while not self.converged and self.num_steps < max_steps:
            optimizer.zero_grad()
            self.objective_fn.backward(self.soften(self.logits))
            optimizer.step()
            self.num_steps += 1
            if self.num_steps % check_every == 0 or self.num_steps == max_steps:
                self._round()
            if progress is not None:
                progress(Step(0, 1, "", self.num_steps, max_steps, self.values[-1]))

    @torch.no_grad()
    def _round(self) -> None:
        self.num_solves += len(self.logits)
        soft = self.soften(self.logits)
        self.converged = self.relaxation.sharpness(soft) > CONVERGED
        rounded = self.relaxation.rounded(soft)
        value = self.values[-1] if rounded.equals(self.best) else self.objective_fn.value(rounded)
        if value > self.values[-1]:
            self.best = rounded
        self.values.append(max(value, self.values[-1]))
