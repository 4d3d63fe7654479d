"""Calls and their reports, the messages between an engine and its workers.

Messages travel between processes and machines; results go to the store.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import socket
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import MappingProxyType
from typing import Any, Literal

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.store import (
    CorruptResultError,
    DiskFullError,
    Failure,
    PartialResults,
    Store,
)
from onebasin_studies.runtime.store.records import about
from onebasin_studies.runtime.task import Result, Task, declaration_of, resolve

Ending = Literal["done", "failed", "lost", "disk full", "corrupt input"]
VERSIONED = ("onebasin", "torch", "numpy", "scipy")


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a function for one or more tasks.

    Args:
        tasks: tasks with the same batch key; more than one only with `map_over`.
        store: the folder or URL of the studies.
        threads: number of threads that the call may use.
        paths: import paths of Python.
    """

    tasks: Sequence[Task]
    store: str
    threads: int = 1
    paths: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the tasks."""
        return tuple(task.key for task in self.tasks)

    def __str__(self) -> str:
        more = f" and {len(self.tasks) - 1} like it" if len(self.tasks) > 1 else ""
        return f"{self.tasks[0]}{more}"


@dataclass(frozen=True)
class Report:
    """The end of a call.

    Args:
        ending: how the call ended; "lost" if the worker died.
        seconds: duration of the call.
        reason: one line, empty for "done".
        traceback: traceback of the exception, if any.
        key: key of a corrupt or missing input.
    """

    ending: Ending
    seconds: float = 0.0
    reason: str = ""
    traceback: str = ""
    key: str = ""


def execute(call: Call) -> Report:
    """Run a call and store its results; never raises."""
    start = time.perf_counter()
    try:
        _run(call)
    except DiskFullError as error:
        return Report("disk full", time.perf_counter() - start, str(error))
    except CorruptResultError as error:
        spent, text = time.perf_counter() - start, str(error)
        return Report("corrupt input", spent, text, traceback.format_exc(), error.key)
    # Task functions may raise anything; other tasks must not be affected.
    except Exception as error:
        ending: Ending = "disk full" if _is_disk_full(error) else "failed"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Report(ending, time.perf_counter() - start, reason, traceback.format_exc())
    return Report("done", time.perf_counter() - start)


def failures_of(call: Call, report: Report) -> list[Failure]:
    """Return one failure per task of a failed call."""
    return [Failure(t.key, str(t), report.reason, report.traceback) for t in call.tasks]


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python and of the packages that affect results."""
    packages = {"python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return MappingProxyType(packages)


def _run(call: Call) -> None:
    sys.path.extend(path for path in call.paths if path not in sys.path)
    store, first = Store(call.store), call.tasks[0]
    function = resolve(first.function)
    _limit_threads(call.threads)
    start = time.perf_counter()
    partial = PartialResults(store.files)
    results = _resumed(function, _arguments(call, store), call, partial)
    share = (time.perf_counter() - start) / len(call.tasks)
    machine = {"host": socket.gethostname(), "cores": os.cpu_count()}
    origin = {"finished": time.time(), **machine, "versions": dict(versions())}
    for task, result in zip(call.tasks, results, strict=True):
        store.save(task.key, result, about(task, share, together=len(call.tasks), **origin))
    partial.close(call.keys)


def _arguments(call: Call, store: Store) -> dict[str, Any]:
    first, each = call.tasks[0], call.tasks[0].declaration.map_over
    arguments: dict[str, Any] = dict(first.arguments)
    if each is not None:
        arguments[each] = [value for task in call.tasks for value in task.arguments[each]]
    for name, value in first.inputs.items():
        if isinstance(value, Task):
            arguments[name] = store.load(value.key)
        else:
            arguments[name] = [store.load(task.key) for task in value]
    return arguments


def _resumed(
    function: Any, arguments: Mapping[str, Any], call: Call, partial: PartialResults
) -> list[Result]:
    """Return the results of a call, resumed from its partial results if it has any."""
    name = call.tasks[0].declaration.resume_folder
    folder = None if name is None else partial.open(call.keys)
    if folder is None:
        return _results(function, arguments, call)
    is_begun = any(folder.iterdir())
    try:
        return _results(function, {**arguments, str(name): str(folder)}, call)
    except Exception as error:
        if _is_disk_full(error):
            raise
        partial.close(call.keys)
        if not is_begun:
            raise
    # The partial results may be damaged or from another version; start over.
    return _results(function, {**arguments, str(name): str(partial.open(call.keys))}, call)


def _results(function: Any, arguments: Mapping[str, Any], call: Call) -> list[Result]:
    output = function(**arguments)
    results = [output] if declaration_of(function).map_over is None else list(output)
    if len(results) != len(call.tasks) or not all(isinstance(r, Result) for r in results):
        kinds = ", ".join(sorted({type(r).__name__ for r in results})) or "nothing"
        raise OneBasinError(
            f"{call.tasks[0].function} returned {len(results)} of {kinds} for {len(call.tasks)} "
            "tasks; it must return one Result for each"
        )
    return results


def _limit_threads(threads: int) -> None:
    """Set the number of torch threads, if the function has imported torch."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _is_disk_full(error: BaseException | None) -> bool:
    """Return whether an exception or one of its causes is about a full disk."""
    if error is None:
        return False
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return is_full or isinstance(error, DiskFullError) or _is_disk_full(error.__cause__)


def import_paths() -> tuple[str, ...]:
    """Return the import paths of this process, for its workers."""
    return tuple(os.path.abspath(path) for path in sys.path)
