"""Files: reading of untrusted input, and atomic writing.

Input files must be regular, and their JSON bounded. Outputs are written under a temporary name
and renamed when they are complete. An exception, Ctrl-C, SIGTERM or SIGHUP removes the temporary
file. A full disk is reported with the path of the output.
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
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
        object_pairs_hook: see `json.loads`.

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


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file, which replaces `path` at the end of the block.

    The temporary file is in the same folder and has the same suffix. After the block it is
    flushed to disk and renamed. If the block raises, it is removed, and `path` does not change.
    A symbolic link is followed, not replaced.

    Args:
        path: the file to write.

    Yields:
        The temporary path, an empty file.

    Raises:
        OneBasinError: the folder is missing or cannot be written to, or `path` is a folder.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("whole or not at all")
        ...     print(Path(folder, "a.txt").read_text())
        whole or not at all
    """
    shown, target = path, Path(os.path.realpath(path))
    if os.path.isdir(target):
        raise OneBasinError(f"{shown}: is a folder; give the path of a file to write")
    temporary = _temporary_name(target)
    with _stop_signals_raise():
        try:
            _create(temporary, shown)
            with _room_explained(shown):
                yield temporary
                _sync(temporary)
            _rename(temporary, target, shown)
            _sync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to `path` at the end of the block.

    Args:
        path: the folder to create; it must be missing or empty.

    Yields:
        The temporary folder, empty.

    Raises:
        OneBasinError: the parent is missing or cannot be written to, or `path` is not empty.
    """
    shown, target = path, Path(os.path.realpath(path))
    check_vacant(shown)
    temporary = _temporary_name(target)
    with _stop_signals_raise():
        try:
            _check_parent(temporary, shown)
            _check_name(shown)
            with _explained(shown):
                temporary.mkdir()
            with _room_explained(shown):
                yield temporary
                for file in temporary.iterdir():
                    _sync(file)
                _sync(temporary)
            _rename(temporary, target, shown)
            _sync(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_vacant(path: str | os.PathLike[str]) -> None:
    """Check that a path is missing or an empty folder.

    Args:
        path: the folder to create.

    Raises:
        OneBasinError: `path` is a file or a folder that is not empty.
    """
    target = Path(os.path.realpath(path))
    if os.path.isdir(target):
        if any(target.iterdir()):
            raise OneBasinError(
                f"{path}: the folder is not empty; remove it or choose another output"
            )
    elif os.path.exists(target):
        raise OneBasinError(
            f"{path}: is a file, but the output is a folder; remove it or choose another output"
        )


def check_no_link(path: str | os.PathLike[str]) -> None:
    """Check that a path that a command chooses is not a link, which may lead to any file.

    Args:
        path: a file or folder inside an output folder.

    Raises:
        OneBasinError: `path` is a symbolic link.
    """
    if os.path.islink(path):
        raise OneBasinError(
            f"{path}: is a symbolic link, and files are written only inside the output folder; "
            "remove the link or choose another folder"
        )


def check_creatable(path: str | os.PathLike[str]) -> None:
    """Check that a file can be created at a path, with a temporary file.

    Args:
        path: the file or folder to write later.

    Raises:
        OneBasinError: the folder is missing or cannot be written to.
    """
    probe = _temporary_name(Path(os.path.realpath(path)))
    with _stop_signals_raise():
        try:
            _create(probe, path)
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()


def _temporary_name(target: Path) -> Path:
    # Truncated, because a longer name than that of the target may exceed the limit of the system.
    stem = os.fsencode(target.name.removesuffix(target.suffix))[:100].decode("utf-8", "ignore")
    return target.with_name(f".{stem}.{secrets.token_hex(6)}{target.suffix[:20]}")


def _check_parent(path: Path, shown: str | os.PathLike[str]) -> None:
    if os.path.exists(path.parent) and not os.path.isdir(path.parent):
        raise OneBasinError(
            f"{shown}: {path.parent} is a file, not a folder; choose another output path"
        )
    if not os.path.isdir(path.parent):
        raise OneBasinError(f"{shown}: the folder {path.parent} does not exist; create it first")


def _check_name(shown: str | os.PathLike[str]) -> None:
    """Check that the system supports the name, before any work."""
    with _explained(shown), contextlib.suppress(FileNotFoundError):
        os.stat(shown)


def _create(path: Path, shown: str | os.PathLike[str]) -> None:
    _check_parent(path, shown)
    _check_name(shown)
    # Unlike files of tempfile, this one has the usual permissions of new files.
    with _explained(shown):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _rename(source: Path, target: Path, shown: str | os.PathLike[str]) -> None:
    with _explained(shown):
        os.replace(source, target)


@contextlib.contextmanager
def _explained(shown: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OneBasinError(
            f"{shown}: cannot be written ({error.strerror}); choose another output path"
        ) from error


@contextlib.contextmanager
def _room_explained(shown: str | os.PathLike[str]) -> Iterator[None]:
    """Raise errors of a full disk with the path of the output."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise OneBasinError(
            f"{shown}: cannot be written ({error.strerror}); free space or choose another output"
        ) from error


def _sync(path: Path) -> None:
    """Flush a file to disk, and a folder if the system can open it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        if os.path.isdir(path):
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _stop_signals_raise() -> Iterator[None]:
    """Raise SystemExit for signals that would end the process, so blocks clean up.

    Only the main thread can do so, and only for signals without a handler. C++ libraries replace
    an exception in a callback, as torch.save does, so SystemExit is raised again at the end of
    the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [s for s in _STOP_SIGNALS if signal.getsignal(s) is signal.SIG_DFL]
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second signal must not interrupt the cleanup
        received.append(number)
        raise SystemExit(128 + number)

    try:
        for number in ours:
            signal.signal(number, stop)
        yield
        if received:
            raise SystemExit(128 + received[0])
    except Exception as error:
        if received:
            raise SystemExit(128 + received[0]) from error
        raise
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
