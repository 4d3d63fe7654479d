"""Console: the result on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebasin._text import printable
from onebasin.cli.wording import as_options
from onebasin.errors import OneBasinWarning

if TYPE_CHECKING:
    from onebasin.api._reporter import Progress
    from onebasin.api.results import Summarized


@dataclass(frozen=True)
class Console:
    """The output of a command.

    Args:
        as_json: print only the result, as JSON.
        quiet: print no progress, notes or text; errors and JSON remain.
        stdout: the open text file of the result.
    """

    as_json: bool
    quiet: bool
    stdout: Any

    def note(self, text: str) -> None:
        """Print a fact that the user should know to stderr."""
        if not self.quiet:
            print(f"onebasin: note: {printable(as_options(text))}", file=sys.stderr)

    def error(self, text: str) -> None:
        """Print an error to stderr."""
        print(f"onebasin: error: {printable(text)}", file=sys.stderr)

    def print(self, data: Mapping[str, Any], text: str) -> None:
        """Print the result of a command, as JSON or as text."""
        if self.as_json:
            self._print(json.dumps(data, indent=1, allow_nan=False))
        elif not self.quiet:
            self._print(text)

    def result(
        self,
        command: str,
        result: Summarized,
        paths: Sequence[Path] | None = None,
        written: Sequence[Path | str | None] = (),
    ) -> None:
        """Print what a function of the library returned.

        Args:
            command: the command.
            result: the result.
            paths: the checkpoints, or None.
            written: the files that were written, or a description; None for files that were not.
        """
        inputs = {} if paths is None else {"inputs": list(map(str, paths))}
        lines = [
            as_options(result.summary()),
            *(f"wrote {path}" for path in written if path is not None),
        ]
        self.print({"command": command, **inputs, **result.to_json()}, "\n".join(lines))

    def _print(self, text: str) -> None:
        try:
            print(printable(text, keep="\n"), file=self.stdout, flush=True)
        except BrokenPipeError:
            # The reader ended, as in `onebasin inspect ... | head`. The interpreter would report
            # another error when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())

    def progress(self, title: str) -> AbstractContextManager[Progress | None]:
        """Show a progress bar on a terminal while a block runs; see `Reporter.progress`."""
        from onebasin.api._reporter import Reporter

        return Reporter(not self.quiet and sys.stderr.isatty()).progress(title)


@contextlib.contextmanager
def open_console(as_json: bool, quiet: bool) -> Iterator[Console]:
    """Open the console of a command.

    In the block, warnings of onebasin are printed as notes, and what models of the user and
    other libraries print goes to stderr.

    Args:
        as_json: as for `Console`.
        quiet: as for `Console`.
    """
    console = Console(as_json, quiet, sys.stdout)

    def show(message: Warning | str, *details: Any, **more: Any) -> None:
        console.note(str(message))

    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("always", OneBasinWarning)
        warnings.showwarning = show
        yield console
