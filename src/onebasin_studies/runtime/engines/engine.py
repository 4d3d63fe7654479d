"""Engines: the form of what carries out calls, and the one that does it in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from onebasin_studies.runtime.engines.call import Call, Report, carry_out


@runtime_checkable
class Engine(Protocol):
    """Carries out calls, several at a time, and says how they ended.

    A context manager: leaving it ends all workers, and what they were doing.
    """

    @property
    def is_here(self) -> bool:
        """Whether calls are carried out in this process."""
        ...

    @property
    def slots(self) -> int:
        """How many one-core calls can run at a time."""
        ...

    @property
    def threads(self) -> int:
        """How many cores there are for all calls together."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exception: object) -> None: ...

    def submit(self, call: Call) -> None:
        """Start a call, at once or when a slot is free."""
        ...

    def wait(self, seconds: float) -> Sequence[tuple[Call, Report]]:
        """Return calls that have ended; none where that takes longer than some seconds."""
        ...


class InlineEngine:
    """Runs one call after the other in this process, for tests and debuggers."""

    is_here = True
    slots = 1
    threads = 1

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()

    def __enter__(self) -> InlineEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        self._calls.clear()

    def submit(self, call: Call) -> None:
        """Put a call into the queue."""
        self._calls.append(call)

    def wait(self, seconds: float) -> Sequence[tuple[Call, Report]]:
        """Run the next call, however long it takes."""
        if not self._calls:
            return []
        call = self._calls.popleft()
        return [(call, carry_out(call))]
