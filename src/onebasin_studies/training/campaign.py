"""Campaign: one call of `train`, from its trunk to the last network of its last group."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from onebasin_studies.training.folder import TRUNK, Folder, group_name
from onebasin_studies.training.group import Epoch, GroupState, epochs_of
from onebasin_studies.training.grouping import Grouping
from onebasin_studies.training.job import Job
from onebasin_studies.training.trained import TrainedNetwork
from onebasin_studies.training.workers import Check, Tell, Work, run_workers

Progress = Callable[[int, int], None]
SHARE_OF_WORK = 20.0
"""How much longer work takes than the writings between, where there is a least time."""


@dataclass(frozen=True)
class GroupProgress:
    """How far a group is.

    Args:
        group: its number, from 0; -1 is the trunk that networks are spawned from.
        seeds: of all its networks.
        epoch: how many are done.
        epochs: how many there are at most.
        num_active: networks that are still trained.
        loss: the mean of their training losses in the last epoch.
    """

    group: int
    seeds: tuple[int, ...]
    epoch: int
    epochs: int
    num_active: int
    loss: float


Watch = Callable[[GroupProgress], None]


@dataclass(frozen=True)
class _Done:
    """What a worker tells: an epoch of a group, and how many epochs of networks that makes."""

    group: int
    epoch: Epoch
    num_epochs: int


@dataclass(frozen=True)
class _Found:
    """What a worker tells of networks that were in the folder already."""

    networks: list[TrainedNetwork]


@dataclass(frozen=True)
class Saving:
    """What is written on the way.

    Args:
        folder: where, or None for nowhere.
        every: epochs between two writings of a group.
        kept_epochs: after which networks are kept.
        seconds: the least time between two writings of a group, and where it is above 0 they
            are so rare that they take about a twentieth of the time.
    """

    folder: Folder | None = None
    every: int = 1
    kept_epochs: frozenset[int] = frozenset()
    seconds: float | int = 0.0

    def pause(self, spent: float) -> float:
        """Return how long to wait after a writing that took some seconds."""
        return max(self.seconds, SHARE_OF_WORK * spent) if self.seconds else 0.0


class Campaign:
    """Trains all groups.

    Args:
        job: what all share.
        grouping: which networks are trained in step.
        saving: what is written on the way.
        spawn_epoch: how long one network is trained from which all others go on, or None.
        trunk_seed: of that one.
        progress: told about epochs of networks.
        watch: told about epochs of groups.
    """

    def __init__(
        self,
        job: Job,
        grouping: Grouping,
        saving: Saving,
        *,
        spawn_epoch: int | None = None,
        trunk_seed: int = 0,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._job = job
        self._grouping = grouping
        self._saving = saving
        self._spawn_epoch = spawn_epoch
        self._trunk_seed = trunk_seed
        self._trunk: GroupState | None = None
        self._progress = progress
        self._watch = watch
        self._total = job.recipe.epochs * sum(map(len, grouping.groups))
        self._num_done = 0
        self._networks: dict[int, TrainedNetwork] = {}

    def run(self) -> dict[int, TrainedNetwork]:
        """Train everything, and return the networks by seed."""
        groups = self._grouping.groups
        works = [self._group_work(number) for number in range(len(groups))]
        if self._spawn_epoch is not None:
            self._run([self._trunk_work], 1)
        self._run(works, self._grouping.num_workers)
        if self._saving.folder is not None:
            self._saving.folder.close()
        return self._networks

    def _run(self, works: list[Work], num_workers: int) -> None:
        threads = self._grouping.num_threads
        run_workers(works, self._handle, num_workers=num_workers, num_threads=threads)

    def _trunk_work(self, tell: Tell, check: Check) -> None:
        """Train the network that all others go on from."""
        assert self._spawn_epoch is not None
        folder = self._saving.folder
        state = None if folder is None else folder.read_state(TRUNK, self._job)
        state = state or GroupState.start(self._job, [self._trunk_seed])
        # It counts for every network that it will become.
        weight = sum(map(len, self._grouping.groups))
        tell(_Done(-1, Epoch(state, state, ()), weight * state.epoch))
        for epoch in epochs_of(self._job, state, self._spawn_epoch, leaves=False, check=check):
            state = epoch.state
            if folder is not None:
                folder.write_state(TRUNK, state)
            tell(_Done(-1, epoch, weight))
        self._trunk = state

    def _group_work(self, number: int) -> Work:
        def work(tell: Tell, check: Check) -> None:
            state = self._start(number, tell)
            if state is None:
                return
            limit, due = self._job.recipe.epochs, time.monotonic() + self._saving.seconds
            for epoch in epochs_of(self._job, state, limit, leaves=True, check=check):
                due = self._save(number, epoch, due)
                # Epochs that a network did not need count as done with it.
                spared = sum(limit - len(network.history) for network in epoch.left)
                tell(_Done(number, epoch, len(epoch.before.seeds) * (limit > 0) + spared))

        return work

    def _start(self, number: int, tell: Tell) -> GroupState | None:
        """Return where a group stands, or None when all of it is done."""
        seeds, folder = self._grouping.groups[number], self._saving.folder
        state = None
        if folder is not None:
            state = folder.read_state(group_name(number), self._job)
            active = () if state is None else state.seeds
            found = {
                seed: folder.read_network(seed, self._job) for seed in seeds if seed not in active
            }
            networks = [network for network in found.values() if network is not None]
            if len(networks) == len(found):
                tell(_Found(networks))
                if state is None:
                    return None
            # Networks are lost without what they were trained beside: all start again.
            else:
                state = None
        if state is None:
            trunk = self._trunk
            state = GroupState.start(self._job, seeds) if trunk is None else trunk.spawn(seeds)
        before_spawning = self._spawn_epoch or 0
        done = (state.epoch - before_spawning) * len(state.seeds)
        tell(_Done(number, Epoch(state, state, ()), done))
        return state

    def _save(self, number: int, epoch: Epoch, due: float) -> float:
        """Write what is to be written after an epoch; return when the group is due again."""
        folder = self._saving.folder
        if folder is None:
            return due
        if epoch.before.epoch in self._saving.kept_epochs:
            folder.write_epoch(epoch.before)
        # Networks that are done come first: after a kill in between they are trained once
        # more, to the same bytes, rather than lost.
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
            self._count(len(event.networks) * (self._job.recipe.epochs - (self._spawn_epoch or 0)))
            return
        self._networks |= {network.seed: network for network in event.epoch.left}
        self._count(event.num_epochs)
        if self._watch is not None:
            self._watch(self._group_progress(event.group, event.epoch))

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
            state.epoch if epoch.state.seeds else self._job.recipe.epochs,
            (self._spawn_epoch or 0) if group < 0 else self._job.recipe.epochs,
            len(epoch.state.seeds),
            sum(losses) / len(losses) if losses else float("nan"),
        )
