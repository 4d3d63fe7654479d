"""Progress: how far a run is, and how long it will still take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from onebasin_studies.runtime.task import Task


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        total: tasks that the studies need.
        done: of these, finished now or before.
        reused: of these, finished before this run.
        failed: that raised, or whose worker died every time.
        skipped: that cannot run because an input failed.
        running: what is being done, in words.
        seconds: since this run began.
        left: seconds to the end as estimated, or None before anything is known.
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
        """Return it as plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Progress:
        """Return what `to_json` wrote."""
        return Progress(**{**data, "running": tuple(data["running"])})

    def to_text(self) -> str:
        """Return it as a line."""
        parts = [f"{self.done} of {self.total} tasks done"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        parts += [f"about {duration(self.left)} left"] if self.left is not None else []
        return ", ".join(parts)


class Estimate:
    """Seconds per unit of cost of each function, learnt from what is done."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._costs: dict[str, float] = {}
        self._numbers: dict[str, int] = {}

    def learn(self, task: Task, seconds: float) -> None:
        """Take in how long a task took."""
        name = task.function
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        self._costs[name] = self._costs.get(name, 0.0) + task.cost
        self._numbers[name] = self._numbers.get(name, 0) + 1

    def left(self, tasks: Iterable[Task], slots: int) -> float | None:
        """Return how long tasks will take side by side, or None before anything is known.

        A task whose function was never seen counts like the mean task of the others: units of
        cost are each function's own.
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
    """Return a time in words of two units at most.

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
