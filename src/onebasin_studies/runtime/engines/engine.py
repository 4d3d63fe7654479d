"""The interface of engines, and the engine that runs calls in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from onebasin_studies.runtime.engines.call import Call, Report, execute


@runtime_checkable
class Engine(Protocol):
    """Runs calls in parallel and reports how they ended.

    A context manager: exiting it ends all workers and their calls.
    """

    @property
    def is_here(self) -> bool:
        """Whether calls run in this process."""
        ...

    @property
    def slots(self) -> int:
        """Maximum number of one-core calls that run at a time."""
        ...

    @property
    def threads(self) -> int:
        """Total number of cores for all calls."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exception: object) -> None: ...

    def submit(self, call: Call) -> None:
        """Start a call, immediately or when a slot is free."""
        ...

    def wait(self, seconds: float) -> Sequence[tuple[Call, Report]]:
        """Return the calls that have ended; empty after a timeout in seconds."""
        ...


class InlineEngine:
    """Runs calls sequentially in this process, for tests and debugging."""

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
        """Queue a call."""
        self._calls.append(call)

    def wait(self, seconds: float) -> Sequence[tuple[Call, Report]]:
        """Run the next call, without a timeout."""
        if not self._calls:
            return []
        call = self._calls.popleft()
        return [(call, execute(call))]
