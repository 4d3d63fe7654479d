"""Progress of a run of studies on stderr: an updated line, or occasional lines in a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onebasin.cli.console import Console
    from onebasin_studies.runtime.progress import Progress

INTERVAL = 30.0
"""Seconds between two lines if stderr is not a terminal."""

CLEAR = "\r\x1b[2K"


class ProgressLine:
    """Shows progress in the style of the console.

    Args:
        console: the console; a quiet one shows nothing.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_terminal = sys.stderr.isatty()
        self._last = time.monotonic()

    def show(self, progress: Progress) -> None:
        """Show the progress, if the last update is old enough."""
        if self._console.quiet:
            return
        if self._is_terminal:
            text = f"{progress.to_text()}; {', '.join(progress.running)}"
            sys.stderr.write(f"{CLEAR}{shortened(text, _columns() - 1)}")
            sys.stderr.flush()
        elif time.monotonic() - self._last >= INTERVAL:
            self._last = time.monotonic()
            self._console.note(progress.to_text())

    def note(self, text: str) -> None:
        """Print a message on its own line."""
        self.clear()
        self._console.note(text)

    def clear(self) -> None:
        """Erase the line."""
        if self._is_terminal and not self._console.quiet:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()


@contextlib.contextmanager
def progress_line(console: Console) -> Iterator[ProgressLine]:
    """Show a progress line during a block."""
    line = ProgressLine(console)
    try:
        yield line
    finally:
        line.clear()


def shortened(text: str, width: int) -> str:
    """Return a text shortened to fit into a line, cut between words.

    Args:
        text: one line.
        width: maximum number of characters.

    Example:
        >>> shortened("3 of 8 tasks done; training", 24)
        '3 of 8 tasks done; ...'
    """
    import textwrap

    return textwrap.shorten(text, max(width, 4), placeholder=" ...")


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
