"""Groups of networks that are trained in lockstep, each with its own order of examples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onebasin._random import generator_of, order_of
from onebasin_studies.training.augmentation import apply_augmentation
from onebasin_studies.training.batch_loader import BatchLoader
from onebasin_studies.training.engines import Engine
from onebasin_studies.training.engines.engine import Score
from onebasin_studies.training.engines.noise import Noise
from onebasin_studies.training.optimizers import StackedOptimizer
from onebasin_studies.training.recipe import learning_rate_at
from onebasin_studies.training.setup import TrainingSetup
from onebasin_studies.training.stacks import Stack
from onebasin_studies.training.testing import TestSet
from onebasin_studies.training.trained import EpochRow, Status, TrainedNetwork


@dataclass(frozen=True, eq=False)
class GroupState:
    """The state of a group between two epochs.

    Args:
        epoch: number of completed epochs.
        seeds: seeds of the active networks, in the order of the stack.
        stack: the active networks.
        optimizer: their optimizer.
        history: the rows of each seed so far.
    """

    epoch: int
    seeds: tuple[int, ...]
    stack: Stack
    optimizer: StackedOptimizer
    history: Mapping[int, tuple[EpochRow, ...]]

    @classmethod
    def start(cls, setup: TrainingSetup, seeds: Sequence[int]) -> GroupState:
        """Return a group of newly initialized networks."""
        stack = Stack.initialized(setup.source, seeds, setup.device)
        optimizer = StackedOptimizer(setup.recipe, stack)
        return cls(0, tuple(seeds), stack, optimizer, {seed: () for seed in seeds})

    def spawn(self, seeds: Sequence[int]) -> GroupState:
        """Return copies of the single network of this group and of its optimizer."""
        (trunk,) = self.seeds
        rows = [0] * len(seeds)
        stack = self.stack.select(rows)
        past = self.history[trunk]
        history = {seed: tuple(replace(row, seed=seed) for row in past) for seed in seeds}
        return GroupState(
            self.epoch, tuple(seeds), stack, self.optimizer.select(rows, stack), history
        )

    def keep(self, seeds: Sequence[int]) -> GroupState:
        """Return the group restricted to some of its networks."""
        if len(seeds) == len(self.seeds):
            return self
        rows = [self.seeds.index(seed) for seed in seeds]
        stack = self.stack.select(rows)
        optimizer = self.optimizer.select(rows, stack)
        history = {seed: self.history[seed] for seed in seeds}
        return GroupState(self.epoch, tuple(seeds), stack, optimizer, history)

    def network(self, seed: int) -> dict[str, Tensor]:
        """Return a copy of the parameters and buffers of one network."""
        return self.stack.network(self.seeds.index(seed))


@dataclass(frozen=True, eq=False)
class Epoch:
    """The result of one epoch of a group.

    Args:
        before: the group after the epoch, with the networks that leave it.
        state: the group without them.
        left: the networks that left.
    """

    before: GroupState
    state: GroupState
    left: tuple[TrainedNetwork, ...]


def epochs_of(
    setup: TrainingSetup,
    state: GroupState,
    until: int,
    *,
    leaves: bool,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Epoch]:
    """Train a group and yield after every epoch.

    Args:
        setup: the training setup.
        state: the initial state of the group.
        until: number of the last epoch.
        leaves: whether networks leave the group when they finish; otherwise all continue to the
            last epoch.
        check: a callback before every step; it may raise to stop the training.
    """
    if leaves and not until:
        left = tuple(_network(setup, state, seed, "finished") for seed in state.seeds)
        yield Epoch(state, state.keep([]), left)
        return
    runner = _EpochRunner(setup, check)
    while state.epoch < until and state.seeds:
        before = runner.run(state)
        left = _leaving(setup, before) if leaves else ()
        gone = {network.seed for network in left}
        state = before.keep([seed for seed in before.seeds if seed not in gone])
        yield Epoch(before, state, left)


def _leaving(setup: TrainingSetup, state: GroupState) -> tuple[TrainedNetwork, ...]:
    left = []
    for seed in state.seeds:
        status = _status(setup, state.history[seed][-1].loss, state.epoch)
        if status is not None:
            left.append(_network(setup, state, seed, status))
    return tuple(left)


def _status(setup: TrainingSetup, loss: float, epoch: int) -> Status | None:
    if not math.isfinite(loss):
        return "diverged"
    if setup.recipe.stop_loss is not None and loss < setup.recipe.stop_loss:
        return "converged"
    return "finished" if epoch == setup.recipe.epochs else None


def _network(setup: TrainingSetup, state: GroupState, seed: int, status: Status) -> TrainedNetwork:
    return TrainedNetwork(
        seed,
        state.network(seed),
        state.history[seed],
        status,
        setup.backend.engine,
        setup.backend.reason,
    )


class _EpochRunner:
    """Trains epochs; keeps the objects that depend only on the stack."""

    def __init__(self, setup: TrainingSetup, check: Callable[[], None]) -> None:
        self._setup = setup
        self._check = check
        self._network = setup.copy_of_network()
        self._test_set: TestSet | None = setup.test_set()
        self._stack: Stack | None = None
        self._noise: Noise | None = None
        self._engine: Engine | None = None
        self._loader = BatchLoader(setup.examples)

    def run(self, state: GroupState) -> GroupState:
        """Train a group for one epoch; updates its stack and optimizer in place."""
        began = time.perf_counter()
        engine, rate = self._prepare(state), 0.0
        orders = torch.stack(
            [order_of(seed, state.epoch, len(self._setup.labels)) for seed in state.seeds]
        ).to(self._setup.device)
        generators = [generator_of(seed, "augmentation", state.epoch) for seed in state.seeds]
        sizes, scores, start = self._setup.batch_sizes, [], 0
        step = state.epoch * len(sizes)
        for size in sizes:
            self._check()
            rows = orders[:, start : start + size].contiguous()
            scores.append(
                engine.compute_gradients(self._load(rows, generators), self._setup.labels[rows])
            )
            rate = learning_rate_at(self._setup.recipe, step, len(sizes))
            state.optimizer.step(rate)
            start, step = start + size, step + 1
        share = (time.perf_counter() - began) / len(state.seeds)
        history = self._history(state, _means(scores, start), rate, share)
        return GroupState(state.epoch + 1, state.seeds, state.stack, state.optimizer, history)

    def _prepare(self, state: GroupState) -> Engine:
        if self._engine is None or self._stack is not state.stack:
            self._stack = state.stack
            self._loader = BatchLoader(self._setup.examples)
            self._noise = Noise([]) if self._setup.backend.draws else None
            self._engine = self._setup.backend.build(self._network, state.stack, self._noise)
        if self._noise is not None:
            self._noise.generators = [
                generator_of(seed, "noise", state.epoch, self._setup.device) for seed in state.seeds
            ]
        return self._engine

    def _load(self, rows: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return the examples with these indices, `(n, b)` to `(n, b, ...)`."""
        inputs = self._loader.load(rows)
        if self._setup.augment is not None:
            for row, generator in enumerate(generators):
                inputs[row] = apply_augmentation(self._setup.augment, inputs[row], generator)
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
    """Return the mean loss and error rate of each network over an epoch.

    The sums are read once per epoch because every read synchronizes with the accelerator.
    """
    loss = torch.stack([score.loss for score in scores]).double().sum(0)
    wrong = torch.stack([score.wrong for score in scores]).double().sum(0)
    pairs = torch.stack([loss, wrong], dim=1) / num_examples
    return [(float(mean), float(error)) for mean, error in pairs.tolist()]
