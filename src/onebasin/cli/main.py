"""The way into the command line and every way out of it: exit codes and the one error line."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType

import typer

from onebasin._text import printable
from onebasin.cli.app import create_app
from onebasin.cli.wording import as_options, usage_text
from onebasin.errors import OneBasinError

BAD_INPUT = 2
INTERRUPTED = 130
LONGEST_LINE = 1_500


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Bad input and bad usage print one line on stderr. Internal errors also print one line; set
    ONEBASIN_TRACEBACK=1 for the traceback.

    Args:
        argv: command line arguments; default: the arguments of the process.

    Returns:
        The exit code: 0 for success; 2 for bad input or usage; 3 for a command without a usable
        result; 130 after Ctrl-C; 1 for an internal error.
    """
    with _noticed_interrupts() as interrupts:
        try:
            return _run(argv)
        except (KeyboardInterrupt, typer.Abort):
            return _interrupted()
        except Exception as error:
            # A package whose import is cut short may swallow Ctrl-C, and fail later, elsewhere.
            return _interrupted() if interrupts else _explained(error)


def _explained(error: Exception) -> int:
    """Print the one line about what went wrong, and return the exit code."""
    if isinstance(error, OneBasinError):
        return _fail(as_options(str(error)), BAD_INPUT)
    if isinstance(error, OSError):
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}", BAD_INPUT)
    usage = usage_text(error)
    if usage is not None:
        return _fail(f"{usage}; see {_command(error)} --help", BAD_INPUT)
    if os.environ.get("ONEBASIN_TRACEBACK"):
        raise error
    text = f"{type(error).__name__}: {error}; an internal error; please report it with the"
    return _fail(f"{text} traceback (set ONEBASIN_TRACEBACK=1)", 1)


def _run(argv: Sequence[str] | None) -> int:
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    _check_given(args)
    with _silence():
        code = create_app()(args=args, prog_name="onebasin", standalone_mode=False)
    if code == INTERRUPTED:
        return _interrupted()
    return code if isinstance(code, int) else 0


def _check_given(args: Sequence[str]) -> None:
    """Check that no argument is empty: as a path it would be the working folder."""
    for before, arg in zip(["onebasin", *args], args, strict=False):
        is_empty = not arg or re.fullmatch(r"--[\w-]+=", arg)
        if is_empty:
            place = arg.rstrip("=") or before
            raise OneBasinError(
                f"the argument after {place} is empty; give a value (an unset variable of the "
                "shell gives none)"
            )


@contextlib.contextmanager
def _noticed_interrupts() -> Iterator[list[int]]:
    """Collect the signal of each Ctrl-C that raises a KeyboardInterrupt in a block."""
    found: list[int] = []
    usual = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or usual is not signal.default_int_handler:
        yield found
        return

    def notice(number: int, frame: FrameType | None) -> None:
        found.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, notice)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, usual)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep warnings and logs of other libraries from between the user and the one line."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _interrupted() -> int:
    print("onebasin: interrupted", file=sys.stderr)
    return INTERRUPTED


def _fail(text: str, code: int) -> int:
    line = printable(" ".join(text.split()))
    if len(line) > LONGEST_LINE:  # a name in a file may have any length
        line = f"{line[: LONGEST_LINE - 300]} ... {line[-250:]}"
    print(f"onebasin: error: {line}", file=sys.stderr)
    return code


def _command(error: Exception) -> str:
    return getattr(getattr(error, "ctx", None), "command_path", "onebasin")
