"""Peak memory that a block of code allocates.

Pages of mapped files do not count: the system reclaims them when it needs memory.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

INTERVAL = 0.01
"""Seconds between two measurements."""


class PeakMemory:
    """A context that measures the anonymous memory of this process; Linux only.

    `gibibytes` is the growth during the block, at its peak.
    """

    def __init__(self) -> None:
        self.gibibytes = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._before = self._peak = anonymous_bytes()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self.gibibytes = (self._peak - self._before) / 2**30

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            self._peak = max(self._peak, anonymous_bytes())


def anonymous_bytes() -> int:
    """Return the memory of this process that is not part of a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("RssAnon:"))
    return int(found.split()[1]) * 1024
