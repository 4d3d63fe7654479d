"""Plans: all tasks of some studies without duplicates, in topological order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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
        found: dict[str, list[str]] = {key: [] for key in self.tasks}
        for key, task in self.tasks.items():
            for needed in {t.key for t in task.dependencies()}:
                found[needed].append(key)
        return found


def _expand(wanted: Iterable[Task]) -> dict[str, Task]:
    """Return all tasks by key, inputs first; iterative, because chains may be long."""
    found: dict[str, Task] = {}
    stack = [(task, False) for task in reversed(list(wanted))]
    while stack:
        task, are_inputs_done = stack.pop()
        if task.key in found:
            continue
        if are_inputs_done:
            found[task.key] = task
            continue
        stack.append((task, True))
        stack.extend((needed, False) for needed in reversed(task.dependencies()))
    return found
