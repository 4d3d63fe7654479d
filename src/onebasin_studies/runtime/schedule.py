"""Plans and schedules: the tasks of studies, and their states during a run.

Pure bookkeeping; `execution` connects it with engines and stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from onebasin_studies.runtime.task import Task


@dataclass(frozen=True, eq=False)
class Plan:
    """The tasks of one or more studies without duplicates.

    Args:
        tasks: tasks by key, every task after its inputs.
        targets: target tasks by study name.
    """

    tasks: Mapping[str, Task]
    targets: Mapping[str, Sequence[Task]]

    @staticmethod
    def of(targets: Mapping[str, Iterable[Task]]) -> Plan:
        """Return the plan of the targets and all their inputs.

        Args:
            targets: target tasks by study name.
        """
        wanted = {name: tuple(tasks) for name, tasks in targets.items()}
        return Plan(_expand(task for tasks in wanted.values() for task in tasks), wanted)

    def keys_of(self, study: str) -> list[str]:
        """Return the keys of all tasks of one study."""
        return list(_expand(self.targets[study]))

    def dependents(self) -> dict[str, list[str]]:
        """Return the keys of the dependents of each task."""
        dependents: dict[str, list[str]] = {key: [] for key in self.tasks}
        for key, task in self.tasks.items():
            for needed in {t.key for t in task.dependencies()}:
                dependents[needed].append(key)
        return dependents


def _expand(wanted: Iterable[Task]) -> dict[str, Task]:
    """Return all tasks by key, inputs first; iterative, because chains may be long."""
    ordered: dict[str, Task] = {}
    stack = [(task, False) for task in reversed(list(wanted))]
    while stack:
        task, are_inputs_done = stack.pop()
        if task.key in ordered:
            continue
        if are_inputs_done:
            ordered[task.key] = task
            continue
        stack.append((task, True))
        stack.extend((needed, False) for needed in reversed(task.dependencies()))
    return ordered


MOST_TOGETHER = 20
"""Maximum number of tasks per call."""

TRIES = 3
"""Maximum number of starts of a task whose worker dies."""


class Schedule:
    """The states of the tasks of a plan: needed, ready, running, done or unreachable.

    Args:
        plan: the plan.
        done: keys of existing results.
        begun: task keys of each interrupted call that can resume with the same tasks.
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
        """Whether no task is left to run."""
        return len(self.done) + len(self.failed) + len(self.skipped) == len(self.needed)

    def is_open(self, key: str) -> bool:
        """Return whether a result is still needed."""
        return key in self.needed and key not in self.done

    def ready(self) -> list[Task]:
        """Return the tasks that can start."""
        closed = self.done | self.failed | self.skipped | self.running
        keys = [key for key in self.needed if key not in closed and not self._missing[key]]
        return [self.plan.tasks[key] for key in keys]

    def next_call(self, free: int) -> list[Task]:
        """Return the tasks of the next call, the most expensive first; empty if none is ready.

        Interrupted calls come first. Tasks with the same batch key are divided among the free
        slots.

        Args:
            free: number of free slots.
        """
        groups: dict[str, list[Task]] = {}
        ready = self.ready()
        if free > 0 and (begun := self._next_begun(ready)):
            return begun
        for task in ready:
            is_alone = task.key in self._alone
            groups.setdefault(task.key if is_alone else task.batch_key, []).append(task)
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
        """Record the start of a call."""
        self.running.update(task.key for task in tasks)

    def finish(self, tasks: Sequence[Task]) -> None:
        """Record finished tasks; their dependents may become ready."""
        for task in tasks:
            self.running.discard(task.key)
            self.done.add(task.key)
            for key in self._dependents[task.key]:
                if key in self.needed:
                    self._missing[key].discard(task.key)

    def retry(self, tasks: Sequence[Task], *, is_lost: bool) -> bool:
        """Reschedule the tasks of an unsuccessful call, each alone.

        The first time a call with partial results is lost, it is retried as a whole.

        Args:
            tasks: the tasks of the call.
            is_lost: whether the worker died; otherwise the function raised. A single task that
                raised is not retried.

        Returns:
            Whether the tasks are retried.
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
            if is_first and tasks[0].declaration.resume_folder is not None:
                self._begun |= dict.fromkeys(keys, keys)
            else:
                self._alone.update(keys)
                for key in keys:
                    self._begun.pop(key, None)
        return is_retried

    def invalidate(self, key: str, waiting: Sequence[Task]) -> bool:
        """Reschedule a corrupt result and the tasks that need it.

        Args:
            key: key of the result.
            waiting: tasks of the call that found the error; they are rescheduled.

        Returns:
            Whether the result is rescheduled; False after too many tries.
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
        """Record failed tasks; return the tasks that can no longer run."""
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
