"""Reading of input files whose content is not trusted: regular files, bounded JSON."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onebasin._text import printable
from onebasin.errors import OneBasinError


def check_regular_file(path: str | os.PathLike[str]) -> None:
    """Check that a path names a regular file; a pipe or device would block or never end.

    Raises:
        OneBasinError: it is missing, cannot be accessed, or is something else.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise OneBasinError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise OneBasinError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise OneBasinError(f"{str(path)!r}: invalid path ({error})") from error
    if stat.S_ISDIR(mode):
        raise OneBasinError(f"{path}: is a folder; give the path of a file")
    if not stat.S_ISREG(mode):
        raise OneBasinError(f"{path}: is a pipe or device, not a regular file; copy it to a file")


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the content of a UTF-8 text file.

    Raises:
        OneBasinError: it is not a regular file, cannot be read, or is not UTF-8.
    """
    check_regular_file(path)
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise OneBasinError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise OneBasinError(f"{path}: invalid UTF-8 at byte {error.start}") from error


def read_json(
    path: str | os.PathLike[str],
    *,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        object_pairs_hook: as for `json.loads`.

    Raises:
        OneBasinError: the file cannot be read, is not JSON, or is nested too deep.
    """
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=object_pairs_hook)
    except RecursionError as error:
        raise OneBasinError(f"{path}: JSON is nested too deep; write the file again") from error
    except OneBasinError:
        raise
    except ValueError as error:
        reason = printable(str(error))
        raise OneBasinError(f"{path}: invalid JSON ({reason}); write the file again") from error
