"""Console: results on stdout, everything else on stderr.

Owns what `--json` and `--quiet` mean, and progress bars, which only a terminal gets to see.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onebasin._text import printable

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Console:
    """Where a command says what it does and what came of it.

    Args:
        as_json: print the result as JSON, and nothing else, to stdout.
        quiet: print no progress, no notes and no text; errors and JSON remain.
        stdout: the open text file that the result goes to.
    """

    as_json: bool
    quiet: bool
    stdout: Any

    def note(self, text: str) -> None:
        """Tell the user something on stderr that is no error."""
        if not self.quiet:
            print(f"onebasin: note: {printable(text)}", file=sys.stderr)

    def complain(self, text: str) -> None:
        """Tell the user on stderr, always, that nothing came of what was asked for."""
        print(f"onebasin: error: {printable(text)}", file=sys.stderr)

    def result(self, data: Mapping[str, Any], text: str) -> None:
        """Print the result of a command, for machines or for people."""
        if self.as_json:
            self._print(json.dumps(data, indent=1, allow_nan=False))
        elif not self.quiet:
            self._print(text)

    def _print(self, text: str) -> None:
        try:
            print(printable(text, keep="\n"), file=self.stdout, flush=True)
        except BrokenPipeError:
            # Whoever read it has left, as in `onebasin inspect ... | head`; without this the
            # interpreter would complain when it flushes once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Progress | None]:
        """Show a progress bar while a block runs.

        Args:
            title: what is being done.

        Yields:
            A function to call with what is done and the total, or None where nobody looks.
        """
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console as RichConsole
        from rich.progress import (
            BarColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with RichProgress(*columns, console=RichConsole(file=sys.stderr), transient=True) as bar:
            task = bar.add_task(title, total=None, count="", left="")

            def show(done: int, total: int) -> None:
                # A total of 0 is an unknown one.
                count, left = (f"{done}/{total}", "left") if total else (str(done), "")
                bar.update(task, completed=done, total=total or None, count=count, left=left)

            yield show


@contextlib.contextmanager
def open_console(as_json: bool, quiet: bool) -> Iterator[Console]:
    """Give a command its console, and stdout to its result alone.

    What models of the user and other libraries print in the block goes to stderr.

    Args:
        as_json: as for `Console`.
        quiet: as for `Console`.
    """
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield Console(as_json, quiet, stdout)


def columns(rows: Sequence[Sequence[str]], *, numbers_from: int = 1) -> str:
    """Lay out rows of text in columns.

    Args:
        rows: equally many cells each.
        numbers_from: columns from this one on stand at the right.

    Example:
        >>> print(columns([("", "naive"), ("loss", "0.74")]))
              naive
        loss   0.74
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i >= numbers_from else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
