"""Progress bars of training on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from onebasin.cli.console import Console
    from onebasin_studies.training import GroupProgress


@contextlib.contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[GroupProgress], None] | None]:
    """Show a bar for each group of networks while a block runs.

    Args:
        console: output of the command.

    Yields:
        The function that updates the bars; None if stderr is not a terminal.
    """
    if console.quiet or not sys.stderr.isatty():
        yield None
        return
    bars: dict[int, Any] = {}
    with _progress() as progress:

        def update(group: GroupProgress) -> None:
            if group.group not in bars:
                title = "trunk" if group.group < 0 else _seed_range(group.seeds)
                bars[group.group] = progress.add_task(title, total=group.epochs, loss="")
            # The loss is known only after the first epoch.
            loss = f"loss {group.loss:.4f}" if group.epoch else "first epoch"
            progress.update(bars[group.group], completed=group.epoch, loss=loss)

        yield update


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs  {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(file=sys.stderr),
    )


def _seed_range(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
