"""Group: networks trained in step, each on its own order of the examples.

Owns an epoch, and when a network leaves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onebasin._random import generator_of, order_of
from onebasin_studies.training.augmenting import augmented
from onebasin_studies.training.engines import Engine
from onebasin_studies.training.engines.loss import Score
from onebasin_studies.training.engines.noise import Noise
from onebasin_studies.training.gathering import Gatherer
from onebasin_studies.training.history import EpochRow
from onebasin_studies.training.job import Job
from onebasin_studies.training.optimizers import StackedOptimizer
from onebasin_studies.training.schedules import learning_rate_at
from onebasin_studies.training.stacks import Stack
from onebasin_studies.training.testing import TestSet
from onebasin_studies.training.trained import Status, TrainedNetwork


@dataclass(frozen=True, eq=False)
class GroupState:
    """A group between two epochs.

    Args:
        epoch: how many are done.
        seeds: of the networks that are still trained, in the order of the stack.
        stack: those networks.
        optimizer: theirs.
        history: rows so far for each of the seeds.
    """

    epoch: int
    seeds: tuple[int, ...]
    stack: Stack
    optimizer: StackedOptimizer
    history: Mapping[int, tuple[EpochRow, ...]]

    @classmethod
    def start(cls, job: Job, seeds: Sequence[int]) -> GroupState:
        """Return a group of networks with new weights."""
        stack = Stack.initialized(job.source, seeds, job.device)
        optimizer = StackedOptimizer(job.recipe, stack)
        return cls(0, tuple(seeds), stack, optimizer, {seed: () for seed in seeds})

    def spawn(self, seeds: Sequence[int]) -> GroupState:
        """Return copies of the one network of this group, its optimizer with it."""
        (trunk,) = self.seeds
        rows = [0] * len(seeds)
        stack = self.stack.select(rows)
        past = self.history[trunk]
        history = {seed: tuple(replace(row, seed=seed) for row in past) for seed in seeds}
        return GroupState(
            self.epoch, tuple(seeds), stack, self.optimizer.select(rows, stack), history
        )

    def keep(self, seeds: Sequence[int]) -> GroupState:
        """Return the group with some of its networks only."""
        if len(seeds) == len(self.seeds):
            return self
        rows = [self.seeds.index(seed) for seed in seeds]
        stack = self.stack.select(rows)
        optimizer = self.optimizer.select(rows, stack)
        history = {seed: self.history[seed] for seed in seeds}
        return GroupState(self.epoch, tuple(seeds), stack, optimizer, history)

    def network(self, seed: int) -> dict[str, Tensor]:
        """Return the parameters and buffers of one network, copied."""
        return self.stack.network(self.seeds.index(seed))


@dataclass(frozen=True, eq=False)
class Epoch:
    """What an epoch of a group came to.

    Args:
        before: the group after the epoch, with those that leave.
        state: the group without them.
        left: those that left.
    """

    before: GroupState
    state: GroupState
    left: tuple[TrainedNetwork, ...]


def epochs_of(
    job: Job,
    state: GroupState,
    until: int,
    *,
    leaves: bool,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Epoch]:
    """Train a group, and yield after every epoch.

    Args:
        job: what to train.
        state: where the group stands.
        until: the number of epochs to end after.
        leaves: whether networks leave when they are done; else all go on to the end.
        check: called before every step; may raise to end it all.
    """
    if leaves and not until:
        left = tuple(_network(job, state, seed, "finished") for seed in state.seeds)
        yield Epoch(state, state.keep([]), left)
        return
    trainer = _Trainer(job, check)
    while state.epoch < until and state.seeds:
        before = trainer.run(state)
        left = _leaving(job, before) if leaves else ()
        gone = {network.seed for network in left}
        state = before.keep([seed for seed in before.seeds if seed not in gone])
        yield Epoch(before, state, left)


def _leaving(job: Job, state: GroupState) -> tuple[TrainedNetwork, ...]:
    left = []
    for seed in state.seeds:
        status = _status(job, state.history[seed][-1].loss, state.epoch)
        if status is not None:
            left.append(_network(job, state, seed, status))
    return tuple(left)


def _status(job: Job, loss: float, epoch: int) -> Status | None:
    if not math.isfinite(loss):
        return "diverged"
    if job.recipe.stop_loss is not None and loss < job.recipe.stop_loss:
        return "converged"
    return "finished" if epoch == job.recipe.epochs else None


def _network(job: Job, state: GroupState, seed: int, status: Status) -> TrainedNetwork:
    return TrainedNetwork(
        seed,
        state.network(seed),
        state.history[seed],
        status,
        job.choice.engine,
        job.choice.reason,
    )


class _Trainer:
    """Runs epochs; holds what is made once for a stack and used for all its epochs."""

    def __init__(self, job: Job, check: Callable[[], None]) -> None:
        self._job = job
        self._check = check
        self._network = job.copy_of_network()
        self._test_set: TestSet | None = job.test_set()
        self._stack: Stack | None = None
        self._noise: Noise | None = None
        self._engine: Engine | None = None
        self._gatherer = Gatherer(job.examples)

    def run(self, state: GroupState) -> GroupState:
        """Train a group for an epoch; its stack and optimizer are changed in place."""
        began = time.perf_counter()
        engine, rate = self._prepare(state), 0.0
        orders = torch.stack(
            [order_of(seed, state.epoch, len(self._job.labels)) for seed in state.seeds]
        ).to(self._job.device)
        generators = [generator_of(seed, "augmentation", state.epoch) for seed in state.seeds]
        sizes, scores, start = self._job.batch_sizes, [], 0
        step = state.epoch * len(sizes)
        for size in sizes:
            self._check()
            rows = orders[:, start : start + size].contiguous()
            scores.append(engine.learn(self._gather(rows, generators), self._job.labels[rows]))
            rate = learning_rate_at(self._job.recipe, step, len(sizes))
            state.optimizer.step(rate)
            start, step = start + size, step + 1
        share = (time.perf_counter() - began) / len(state.seeds)
        history = self._history(state, _means(scores, start), rate, share)
        return GroupState(state.epoch + 1, state.seeds, state.stack, state.optimizer, history)

    def _prepare(self, state: GroupState) -> Engine:
        if self._engine is None or self._stack is not state.stack:
            self._stack = state.stack
            self._gatherer = Gatherer(self._job.examples)
            self._noise = Noise([]) if self._job.choice.draws else None
            self._engine = self._job.choice.build(self._network, state.stack, self._noise)
        if self._noise is not None:
            self._noise.generators = [
                generator_of(seed, "noise", state.epoch, self._job.device) for seed in state.seeds
            ]
        return self._engine

    def _gather(self, rows: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return the examples of these rows, `(n, b)` to `(n, b, ...)`."""
        inputs = self._gatherer.gather(rows)
        if self._job.augment is not None:
            for row, generator in enumerate(generators):
                inputs[row] = augmented(self._job.augment, inputs[row], generator)
        return inputs

    def _history(
        self, state: GroupState, means: list[tuple[float, float]], rate: float, seconds: float
    ) -> dict[int, tuple[EpochRow, ...]]:
        tested: list[tuple[float | None, float | None]] = [(None, None)] * len(state.seeds)
        if self._test_set is not None:
            tested = [*self._test_set.measure(state.stack)]
        return {
            seed: (
                *state.history[seed],
                EpochRow(seed, state.epoch + 1, *mean, rate, seconds, *test),
            )
            for seed, mean, test in zip(state.seeds, means, tested, strict=True)
        }


def _means(scores: Sequence[Score], num_examples: int) -> list[tuple[float, float]]:
    """Return the mean loss and the share of errors of each network over an epoch.

    The sums are taken once an epoch: reading a number from an accelerator waits for it.
    """
    loss = torch.stack([score.loss for score in scores]).double().sum(0)
    wrong = torch.stack([score.wrong for score in scores]).double().sum(0)
    pairs = torch.stack([loss, wrong], dim=1) / num_examples
    return [(float(mean), float(error)) for mean, error in pairs.tolist()]
