"""The trainer: one call of `train`, from the shared trunk to the last network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from onebasin_studies.training.folder import TRUNK, Folder, group_name
from onebasin_studies.training.group import Epoch, GroupState, epochs_of
from onebasin_studies.training.grouping import Check, Grouping, Report, Work, run_workers
from onebasin_studies.training.setup import TrainingSetup
from onebasin_studies.training.trained import TrainedNetwork

Progress = Callable[[int, int], None]
SHARE_OF_WORK = 20.0
"""Minimum ratio of training time to writing time, if checkpoints have a minimum interval."""


@dataclass(frozen=True)
class GroupProgress:
    """The progress of a group.

    Args:
        group: number of the group, from 0; -1 for the trunk that networks are spawned from.
        seeds: seeds of all its networks.
        epoch: number of completed epochs.
        epochs: maximum number of epochs.
        num_active: number of networks that are still trained.
        loss: mean training loss of the last epoch.
    """

    group: int
    seeds: tuple[int, ...]
    epoch: int
    epochs: int
    num_active: int
    loss: float


OnEpochEnd = Callable[[GroupProgress], None]


@dataclass(frozen=True)
class _Done:
    """A message of a worker: a completed epoch of a group, counted in epochs of networks."""

    group: int
    epoch: Epoch
    num_epochs: int


@dataclass(frozen=True)
class _Found:
    """A message of a worker: networks that were already in the folder."""

    networks: list[TrainedNetwork]


@dataclass(frozen=True)
class Saving:
    """The files that are written during training.

    Args:
        folder: the output folder, or None.
        every: number of epochs between two checkpoints of a group.
        kept_epochs: epochs after which snapshots are saved.
        seconds: minimum interval between two checkpoints of a group. If positive, writing takes
            about a twentieth of the time.
    """

    folder: Folder | None = None
    every: int = 1
    kept_epochs: frozenset[int] = frozenset()
    seconds: float | int = 0.0

    def pause(self, spent: float) -> float:
        """Return the interval after a checkpoint that took some seconds."""
        return max(self.seconds, SHARE_OF_WORK * spent) if self.seconds else 0.0


class Trainer:
    """Trains all groups.

    Args:
        setup: the training setup.
        grouping: the division into groups.
        saving: the files to write.
        spawn_epoch: number of epochs of the shared trunk, or None.
        trunk_seed: seed of the trunk.
        progress: a callback for epochs of networks.
        on_epoch_end: a callback for epochs of groups.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        grouping: Grouping,
        saving: Saving,
        *,
        spawn_epoch: int | None = None,
        trunk_seed: int = 0,
        progress: Progress | None = None,
        on_epoch_end: OnEpochEnd | None = None,
    ) -> None:
        self._setup = setup
        self._grouping = grouping
        self._saving = saving
        self._spawn_epoch = spawn_epoch
        self._trunk_seed = trunk_seed
        self._trunk: GroupState | None = None
        self._progress = progress
        self._on_epoch_end = on_epoch_end
        self._total = setup.recipe.epochs * sum(map(len, grouping.groups))
        self._num_done = 0
        self._networks: dict[int, TrainedNetwork] = {}

    def run(self) -> dict[int, TrainedNetwork]:
        """Train all groups and return the networks by seed."""
        groups = self._grouping.groups
        works = [self._group_work(number) for number in range(len(groups))]
        if self._spawn_epoch is not None:
            self._run([self._train_trunk], 1)
        self._run(works, self._grouping.num_workers)
        if self._saving.folder is not None:
            self._saving.folder.close()
        return self._networks

    def _run(self, works: list[Work], num_workers: int) -> None:
        threads = self._grouping.num_threads
        run_workers(works, self._handle, num_workers=num_workers, num_threads=threads)

    def _train_trunk(self, report: Report, check: Check) -> None:
        """Train the trunk that all networks are spawned from."""
        assert self._spawn_epoch is not None
        folder = self._saving.folder
        state = None if folder is None else folder.read_state(TRUNK, self._setup)
        state = state or GroupState.start(self._setup, [self._trunk_seed])
        # The trunk counts once for every network spawned from it.
        weight = sum(map(len, self._grouping.groups))
        report(_Done(-1, Epoch(state, state, ()), weight * state.epoch))
        for epoch in epochs_of(self._setup, state, self._spawn_epoch, leaves=False, check=check):
            state = epoch.state
            if folder is not None:
                folder.write_state(TRUNK, state)
            report(_Done(-1, epoch, weight))
        self._trunk = state

    def _group_work(self, number: int) -> Work:
        def work(report: Report, check: Check) -> None:
            state = self._start(number, report)
            if state is None:
                return
            limit, due = self._setup.recipe.epochs, time.monotonic() + self._saving.seconds
            for epoch in epochs_of(self._setup, state, limit, leaves=True, check=check):
                due = self._save(number, epoch, due)
                # Skipped epochs of a network that stopped early count as done.
                spared = sum(limit - len(network.history) for network in epoch.left)
                report(_Done(number, epoch, len(epoch.before.seeds) * (limit > 0) + spared))

        return work

    def _start(self, number: int, report: Report) -> GroupState | None:
        """Return the initial state of a group, or None if all of it is finished."""
        seeds, folder = self._grouping.groups[number], self._saving.folder
        state = None
        if folder is not None:
            state = folder.read_state(group_name(number), self._setup)
            active = () if state is None else state.seeds
            stored = {
                seed: folder.read_network(seed, self._setup) for seed in seeds if seed not in active
            }
            networks = [network for network in stored.values() if network is not None]
            if len(networks) == len(stored):
                report(_Found(networks))
                if state is None:
                    return None
            # A finished network is missing, so the whole group is trained again.
            else:
                state = None
        if state is None:
            trunk = self._trunk
            state = GroupState.start(self._setup, seeds) if trunk is None else trunk.spawn(seeds)
        before_spawning = self._spawn_epoch or 0
        done = (state.epoch - before_spawning) * len(state.seeds)
        report(_Done(number, Epoch(state, state, ()), done))
        return state

    def _save(self, number: int, epoch: Epoch, due: float) -> float:
        """Write the files of an epoch; return the time of the next checkpoint of the group."""
        folder = self._saving.folder
        if folder is None:
            return due
        if epoch.before.epoch in self._saving.kept_epochs:
            folder.write_epoch(epoch.before)
        # Finished networks are written first: if the process is killed in between, they
        # are trained again to the same bytes, and not lost.
        for network in epoch.left:
            folder.write_network(network)
        if not epoch.state.seeds:
            folder.remove_state(group_name(number))
        elif epoch.state.epoch % self._saving.every == 0 and time.monotonic() >= due:
            began = time.monotonic()
            folder.write_state(group_name(number), epoch.state)
            due = time.monotonic() + self._saving.pause(time.monotonic() - began)
        return due

    def _handle(self, event: _Done | _Found) -> None:
        if isinstance(event, _Found):
            self._networks |= {network.seed: network for network in event.networks}
            self._count(
                len(event.networks) * (self._setup.recipe.epochs - (self._spawn_epoch or 0))
            )
            return
        self._networks |= {network.seed: network for network in event.epoch.left}
        self._count(event.num_epochs)
        if self._on_epoch_end is not None:
            self._on_epoch_end(self._group_progress(event.group, event.epoch))

    def _count(self, number: int) -> None:
        self._num_done += number
        if number and self._progress is not None:
            self._progress(self._num_done, self._total)

    def _group_progress(self, group: int, epoch: Epoch) -> GroupProgress:
        state = epoch.before
        losses = [rows[-1].loss for rows in state.history.values() if rows]
        return GroupProgress(
            group,
            (self._trunk_seed,) if group < 0 else self._grouping.groups[group],
            state.epoch if epoch.state.seeds else self._setup.recipe.epochs,
            (self._spawn_epoch or 0) if group < 0 else self._setup.recipe.epochs,
            len(epoch.state.seeds),
            sum(losses) / len(losses) if losses else float("nan"),
        )
