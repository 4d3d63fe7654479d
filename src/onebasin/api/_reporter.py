"""Notes and progress of high-level functions."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from types import FrameType
from typing import Any

from onebasin.errors import OneBasinWarning

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reporter:
    """Shows notes and progress while a function runs.

    Args:
        shows_progress: whether to show progress bars on stderr.
    """

    shows_progress: bool = False

    def note(self, text: str) -> None:
        """Issue a warning that points to the line that called onebasin."""
        warnings.warn(text, OneBasinWarning, stacklevel=_caller_level(sys._getframe()))

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Progress | None]:
        """Show a progress bar while a block runs.

        Args:
            title: the task.

        Yields:
            A function of the completed steps and their total (0 if unknown); None without bars.
        """
        if not self.shows_progress:
            yield None
            return
        with _bar(title) as show:
            yield show

    @contextlib.contextmanager
    def counting(
        self, title: str, batches: Iterable[Any]
    ) -> Iterator[Callable[[int], None] | None]:
        """Show a progress bar that counts batches.

        Args:
            title: the task.
            batches: the batches; their number may be unknown.
        """
        total = len(batches) if isinstance(batches, Sized) else 0
        with self.progress(title) as progress:
            yield None if progress is None else lambda done: progress(done, total)


def _caller_level(frame: FrameType | None) -> int:
    """Return the `stacklevel` of the first caller outside of the package, from a frame of it."""
    level = 1
    while frame is not None and _package_of(frame) in ("onebasin", "contextlib"):
        frame, level = frame.f_back, level + 1
    return level


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(title, total=None, count="", left="")

        def show(done: int, total: int) -> None:
            count, left = (f"{done}/{total}", "left") if total else (str(done), "")
            bar.update(task, completed=done, total=total or None, count=count, left=left)

        yield show
