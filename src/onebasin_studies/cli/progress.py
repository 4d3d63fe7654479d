"""Progress of training and of studies on stderr: bars on a terminal, else lines of a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from onebasin.cli.console import Console
    from onebasin_studies.runtime.progress import Progress
    from onebasin_studies.training import GroupProgress

INTERVAL = 30.0
"""Seconds between two lines of the log of a study."""


@contextlib.contextmanager
def training_progress(console: Console) -> Iterator[Callable[[GroupProgress], None] | None]:
    """Show a bar for each group of networks while a block runs.

    Args:
        console: output of the command.

    Yields:
        The function that updates the bars; None if stderr is not a terminal.
    """
    if not _is_shown(console):
        yield None
        return
    from rich.progress import TimeRemainingColumn

    tasks: dict[int, Any] = {}
    with _bars(TimeRemainingColumn()) as bars:

        def update(group: GroupProgress) -> None:
            if group.group not in tasks:
                title = "trunk" if group.group < 0 else _seed_range(group.seeds)
                tasks[group.group] = bars.add_task(title, total=group.epochs, details="")
            # The loss is known only after the first epoch.
            loss = f"loss {group.loss:.4f}" if group.epoch else "first epoch"
            details = f"{group.epoch}/{group.epochs} epochs, {loss}"
            bars.update(tasks[group.group], completed=group.epoch, details=details)

        yield update


@contextlib.contextmanager
def study_progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Show the progress of a run of studies while a block runs.

    Args:
        console: output of the command.

    Yields:
        The function that shows the progress: a bar on a terminal, otherwise an occasional line.
    """
    if not _is_shown(console):
        yield _log(console)
        return
    with _bars() as bars:
        task = bars.add_task("", total=None, details="")

        def update(progress: Progress) -> None:
            details = "; ".join([progress.to_text(), *progress.running])
            bars.update(task, completed=progress.done, total=progress.total, details=details)

        yield update


def _log(console: Console) -> Callable[[Progress], None]:
    last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= INTERVAL:
            last = time.monotonic()
            console.note(progress.to_text())

    return show


def _is_shown(console: Console) -> bool:
    return not console.quiet and sys.stderr.isatty()


def _bars(*columns: Any) -> Bars:
    """Return bars with a title and details; the details are cut at the end of the line."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    details = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        *columns,
        # Names of tasks may contain brackets, which are not markup.
        TextColumn("{task.fields[details]}", markup=False, table_column=details),
        console=Console(file=sys.stderr),
        expand=True,
        transient=True,
    )


def _seed_range(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
