"""Progress of a run, with an estimate of the remaining time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from onebasin_studies.runtime.task import Task


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Args:
        total: number of tasks.
        done: number of finished tasks, including reused ones.
        reused: number of results from earlier runs.
        failed: number of failed tasks.
        skipped: number of tasks that cannot run because an input failed.
        running: descriptions of the running tasks.
        seconds: seconds since the run began.
        left: estimated remaining seconds, or None if unknown.
    """

    total: int
    done: int = 0
    reused: int = 0
    failed: int = 0
    skipped: int = 0
    running: tuple[str, ...] = ()
    seconds: float = 0.0
    left: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the progress as plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Progress:
        """Return the progress from the output of `to_json`."""
        return Progress(**{**data, "running": tuple(data["running"])})

    def to_text(self) -> str:
        """Return the progress as one line."""
        parts = [f"{self.done} of {self.total} tasks done"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        parts += [f"about {duration(self.left)} left"] if self.left is not None else []
        return ", ".join(parts)


class Estimate:
    """Seconds per unit of cost of each function, learned from finished tasks."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._costs: dict[str, float] = {}
        self._numbers: dict[str, int] = {}

    def update(self, task: Task, seconds: float) -> None:
        """Add the duration of a finished task."""
        name = task.function
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        self._costs[name] = self._costs.get(name, 0.0) + task.cost
        self._numbers[name] = self._numbers.get(name, 0) + 1

    def left(self, tasks: Iterable[Task], slots: int) -> float | None:
        """Return the estimated duration of parallel tasks, or None if unknown.

        Tasks of an unknown function count like the mean task of the others, because costs of
        different functions are not comparable.
        """
        rest = list(tasks)
        if not rest:
            return 0.0
        rates = {n: s / self._costs[n] for n, s in self._seconds.items() if self._costs[n]}
        if not rates:
            return None
        usual = [seconds / self._numbers[name] for name, seconds in self._seconds.items()]
        typical = sum(usual) / len(usual)
        each = [
            task.cost * rates[task.function] if task.function in rates else typical for task in rest
        ]
        return max(sum(each) / slots, max(each))


def duration(seconds: float | int) -> str:
    """Return a duration as text with at most two units.

    Example:
        >>> duration(4000)
        '1 h 7 min'
    """
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
