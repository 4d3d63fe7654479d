"""Sinkhorn matching: soft permutations, learned by gradients and rounded in the end.

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
from onebasin.errors import OneBasinError, check_choice
from onebasin.matching._checks import check_counts, check_init, check_learning_rate, check_seed
from onebasin.matching._coordinate_descent.gathering import Gathering
from onebasin.matching._losses import DataLoss, Ends, Loss, Normalization
from onebasin.matching._relaxation.agreement import Agreement
from onebasin.matching._relaxation.relaxation import Relaxation
from onebasin.matching._relaxation.sinkhorn import Gradient, sinkhorn
from onebasin.matching.result import Matching, Progress, Step
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_sinkhorn"

Objective: TypeAlias = Literal["weights", "midpoint", "path"]

FIRMNESS = 4.0
"""What the logits of a permutation to begin at exceed the others by, beyond log n."""

NOISE = 1e-3
"""Standard deviation of the logits at the start: what lies exactly between two ways chooses."""

SETTLED = 0.99
"""The share of its units' weight that every group has in one place each, where learning ends."""


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
    r"""Find the permutation of B by gradients, through soft permutations.

    Every group has a matrix of logits; Sinkhorn's operator makes it doubly stochastic, and B
    is moved by that. Adam learns the logits: to raise \(\langle \theta_A, P(\theta_B) \rangle\)
    (`weights`), to lower the loss at \(\frac12 (\theta_A + P(\theta_B))\) (`midpoint`) or at
    a random point between the two, another one in each step (`path`).

    Differs from the paper:
        - Any symmetry: units nested in others have a matrix for every pair of outer units.
        - `weights` is the inner product, not the distance: for permutations they are the
          same, but the distance is least for a soft one, which rounding takes away.
        - From time to time the soft permutation is rounded by assignment and that is
          evaluated, on all of the data where there is any. The best one is returned, never
          one that is worse than where the search began.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference; with data, buffers too.
        params_b: what is moved; likewise.
        objective: `weights`, which needs no data, or `midpoint` or `path`, which do; by
            default `midpoint` if there is data.
        model: the architecture; its own parameters are not used.
        data: batches `(inputs, labels)`, such as a DataLoader; one for each step.
        loss: `cross_entropy`, `mse`, or a function of outputs and labels.
        normalization: whether BatchNorm uses the `interpolated` statistics or those of the
            `batch`; the latter for a network whose statistics will be reset.
        gradient: through Sinkhorn's operator: `implicit` (at its fixed point, takes one
            linear system for each group) or `unrolled` (through its rounds, takes their memory).
        seed: of the start and of the random points.
        max_steps: of Adam.
        learning_rate: of Adam, for the logits.
        num_rounds: of Sinkhorn's operator.
        check_every: steps between two roundings.
        init: where to begin, by default where every unit goes everywhere alike.
        progress: called with a `Step` after every step; its group is empty.

    Returns:
        The matching; its objective is `<A, P(B)>` or minus the mean loss over the data, where
        the search began and the best after every rounding; of `path` at seven points between
        the ends. `converged` is False where `max_steps` ended the search while the
        permutation was still soft.

    Raises:
        OneBasinError: when there is no data where it is needed, the model refuses a batch, a
            loss is not finite, tensors do not fit the symmetry, or a number is out of range.

    Example:
        >>> from onebasin import trace
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
    check_choice(CALL, "objective", objective, Objective)
    check_choice(CALL, "gradient", gradient, Gradient)
    check_init(symmetry, init, CALL)
    check_counts(CALL, max_steps=max_steps, num_rounds=num_rounds, check_every=check_every)
    check_seed(CALL, seed)
    check_learning_rate(CALL, learning_rate)
    gathering = Gathering(symmetry, [params_a, params_b], call=CALL, labels=("A", "B"))
    relaxation = Relaxation(symmetry)
    if objective == "weights":
        aim: _Weights | _Losses = _Weights(gathering, relaxation)
    elif model is None or data is None:
        raise OneBasinError(
            f"{CALL}: objective {objective!r} needs model and data; pass both, or use 'weights'"
        )
    else:
        losses = DataLoss(model, data, loss, normalization=normalization, call=CALL)
        aim = _Losses(losses, Ends(gathering.pairs[0]), relaxation, objective, seed)

    def soften(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            group: sinkhorn(values, gradient=gradient, num_rounds=num_rounds)
            for group, values in logits.items()
        }

    run = _Run(aim, relaxation, soften, init, seed, gathering.dtype)
    run.learn(max_steps, learning_rate, check_every, progress)
    return Matching(
        permutation=run.best,
        objective=tuple(run.values),
        converged=run.settled,
        num_sweeps=run.num_steps,
        num_solves=run.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.values[-1],),
    )


class _Weights:
    """The inner product with A, over the product of both networks' norms."""

    def __init__(self, gathering: Gathering, relaxation: Relaxation) -> None:
        self.agreement, self.pair = Agreement(gathering, relaxation), gathering.pairs[0]
        self.scale = self.pair.survey().bound or 1.0

    def descend(self, soft: Mapping[str, Tensor]) -> None:
        """Add to the gradients of what the soft permutations come from."""
        _, (gradients,) = self.agreement.gradients([dict(soft)])
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
        ends: Ends,
        relaxation: Relaxation,
        objective: Objective,
        seed: int,
    ) -> None:
        self.losses, self.ends, self.relaxation = losses, ends, relaxation
        self.random = objective == "path"
        self.shares = [place / 8 for place in range(1, 8)] if self.random else [0.5]
        self.generator = generator_for(seed, "path")
        self.batches = self._endless()

    def _endless(self) -> Iterator[tuple[int, Any]]:
        while True:
            yield from enumerate(self.losses.data)

    def descend(self, soft: Mapping[str, Tensor]) -> None:
        """Add to the gradients of what the soft permutations come from."""
        number, batch = next(self.batches)
        moved = {}
        for name in self.ends.moving:
            tensor = self.ends.b[name]
            fitting = {g: soft[g].to(tensor.dtype) for g in self.relaxation.groups_of(name)}
            moved[name] = self.relaxation.move(name, tensor, fitting)
        share = float(torch.rand((), generator=self.generator)) if self.random else 0.5
        self.losses.of_batch(self.ends.between(moved, share), batch, number).backward()

    def value(self, permutation: Permutation) -> float:
        """Return minus the mean loss of a permutation on all data."""
        moved = self.ends.moved(permutation)
        values = [self.losses.mean(self.ends.between(moved, share)) for share in self.shares]
        return -sum(values) / len(values)


class _Run:
    """The logits, and the best permutation that they were rounded to."""

    def __init__(
        self,
        aim: _Weights | _Losses,
        relaxation: Relaxation,
        soften: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
        init: Permutation | None,
        seed: int,
        dtype: torch.dtype,
    ) -> None:
        self.aim, self.relaxation, self.soften = aim, relaxation, soften
        self.best = init or Permutation.identity(relaxation.symmetry)
        self.values = [aim.value(self.best)]
        self.settled, self.num_steps, self.num_solves = not relaxation.shapes, 0, 0
        self.logits = {
            name: torch.randn(shape, generator=generator_for(seed, name), dtype=dtype) * NOISE
            for name, shape in relaxation.shapes.items()
        }
        if init is not None:
            for name, matrices in relaxation.vertex(init, dtype).items():
                firm = FIRMNESS + torch.tensor(float(matrices.shape[-1])).log()
                self.logits[name] += firm * matrices
        for logits in self.logits.values():
            logits.requires_grad_()

    def learn(
        self, max_steps: int, learning_rate: float, check_every: int, progress: Progress | None
    ) -> None:
        """Take steps of Adam, and round from time to time, until hardly anything is soft."""
        if self.settled:
            return
        optimizer = torch.optim.Adam(self.logits.values(), lr=learning_rate)
        while not self.settled and self.num_steps < max_steps:
            optimizer.zero_grad()
            self.aim.descend(self.soften(self.logits))
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
        self.settled = self.relaxation.firmness(soft) > SETTLED
        found = self.relaxation.rounded(soft)
        value = self.values[-1] if found.equals(self.best) else self.aim.value(found)
        if value > self.values[-1]:
            self.best = found
        self.values.append(max(value, self.values[-1]))
