"""Schedules: what can run now, what must wait, and what never will.

Pure bookkeeping over a plan; engines and stores are `execution`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

from onebasin_studies.runtime.plan import Plan
from onebasin_studies.runtime.task import Task

MOST_TOGETHER = 20
"""Tasks that one call does at most."""

TRIES = 3
"""How often a task is started whose worker dies."""


class Schedule:
    """Which tasks of a plan are needed, ready, running, done or out of reach.

    Args:
        plan: what is wanted.
        done: keys of results that are there; all others are needed.
        begun: keys of the tasks of each call that was stopped in the middle and has kept what
            it can go on from, if it is the same tasks again.
    """

    def __init__(
        self, plan: Plan, done: Iterable[str], begun: Iterable[Sequence[str]] = ()
    ) -> None:
        self.plan = plan
        there = set(done)
        self.needed = {key: None for key in plan.tasks if key not in there}
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self.skipped: set[str] = set()
        self.running: set[str] = set()
        self._alone: set[str] = set()
        self._begun: dict[str, Sequence[str]] = {}
        for keys in begun:
            if keys and all(key in self.needed and key not in self._begun for key in keys):
                self._begun |= dict.fromkeys(keys, keys)
        self._losses: dict[str, int] = {}
        self._reopened: dict[str, int] = {}
        self._dependents = plan.dependents()
        self._missing = {key: self._inputs_missing(key) for key in self.needed}

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to run."""
        return len(self.done) + len(self.failed) + len(self.skipped) == len(self.needed)

    def is_open(self, key: str) -> bool:
        """Whether a result is still to be made."""
        return key in self.needed and key not in self.done

    def ready(self) -> list[Task]:
        """Return the tasks whose inputs are there and that have not been started."""
        closed = self.done | self.failed | self.skipped | self.running
        keys = [key for key in self.needed if key not in closed and not self._missing[key]]
        return [self.plan.tasks[key] for key in keys]

    def next_call(self, free: int) -> list[Task]:
        """Return tasks for one call, the largest work first; none where nothing is ready.

        Calls that were begun go on before all others. Kin are divided such that every free slot
        gets some.

        Args:
            free: slots that are free.
        """
        groups: dict[str, list[Task]] = {}
        ready = self.ready()
        if free > 0 and (begun := self._next_begun(ready)):
            return begun
        for task in ready:
            is_alone = task.key in self._alone
            groups.setdefault(task.key if is_alone else task.kin, []).append(task)
        if not groups or free < 1:
            return []
        largest = max(groups.values(), key=lambda tasks: sum(task.cost for task in tasks))
        share = ceil(len(largest) / max(1, ceil(free / len(groups))))
        return largest[: min(share, MOST_TOGETHER)]

    def _next_begun(self, ready: Sequence[Task]) -> list[Task]:
        there = {task.key: task for task in ready}
        for key in there:
            keys = self._begun.get(key, ())
            if keys and all(each in there for each in keys):
                return [there[each] for each in keys]
        return []

    def start(self, tasks: Sequence[Task]) -> None:
        """Note that a call of tasks has begun."""
        self.running.update(task.key for task in tasks)

    def finish(self, tasks: Sequence[Task]) -> None:
        """Note that tasks are done; what waited for them may become ready."""
        for task in tasks:
            self.running.discard(task.key)
            self.done.add(task.key)
            for key in self._dependents[task.key]:
                if key in self.needed:
                    self._missing[key].discard(task.key)

    def put_back(self, tasks: Sequence[Task], *, is_lost: bool) -> bool:
        """Let tasks whose call did not end well be tried again, each alone.

        A call that keeps what it can go on from is tried as a whole when it is lost first.

        Args:
            tasks: of the call.
            is_lost: whether the worker died; otherwise a function raised, which it would do
                again, unless another of its tasks was the reason.

        Returns:
            Whether they are tried again.
        """
        if is_lost:
            for task in tasks:
                self._losses[task.key] = self._losses.get(task.key, 0) + 1
            is_retried = all(self._losses[task.key] < TRIES for task in tasks)
        else:
            is_retried = len(tasks) > 1
        if is_retried:
            keys = [task.key for task in tasks]
            self.running.difference_update(keys)
            is_first = is_lost and max(self._losses[key] for key in keys) == 1
            if is_first and tasks[0].declaration.interim is not None:
                self._begun |= dict.fromkeys(keys, keys)
            else:
                self._alone.update(keys)
                for key in keys:
                    self._begun.pop(key, None)
        return is_retried

    def reopen(self, key: str, waiting: Sequence[Task]) -> bool:
        """Let a result that turned out to be corrupt be made again before what needs it.

        Args:
            key: of the result.
            waiting: tasks of the call that noticed it; they will be started again.

        Returns:
            Whether it is made again; not where that was tried too often.
        """
        if self._reopened.get(key, 0) >= TRIES:
            return False
        self.running.difference_update(task.key for task in waiting)
        if self.is_open(key):
            return True
        self._reopened[key] = self._reopened.get(key, 0) + 1
        self.done.discard(key)
        self.needed[key] = None
        self._missing[key] = self._inputs_missing(key)
        for dependent in self._dependents[key]:
            if dependent in self.needed and dependent not in self.done:
                self._missing[dependent].add(key)
        return True

    def fail(self, tasks: Sequence[Task]) -> list[Task]:
        """Note that tasks failed; return what cannot run any more because of it."""
        keys = [task.key for task in tasks]
        self.running.difference_update(keys)
        self.failed.update(keys)
        lost: list[str] = []
        while keys:
            for key in self._dependents[keys.pop()]:
                if key in self.needed and key not in self.skipped:
                    self.skipped.add(key)
                    lost.append(key)
                    keys.append(key)
        return [self.plan.tasks[key] for key in lost]

    def _inputs_missing(self, key: str) -> set[str]:
        inputs = {task.key for task in self.plan.tasks[key].dependencies()}
        return set(filter(self.is_open, inputs))
