"""Calls: what a worker is sent, what it does, and what it says of it.

Everything here travels between processes and machines; results do not, they go to the store.
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
    Interim,
    Store,
)
from onebasin_studies.runtime.store.records import about
from onebasin_studies.runtime.task import Result, Task, declaration_of, resolve

Ending = Literal["done", "failed", "lost", "disk full", "corrupt input"]
VERSIONED = ("onebasin", "torch", "numpy", "scipy")


@dataclass(frozen=True, eq=False)
class Call:
    """Tasks that one call of their function does.

    Args:
        tasks: of one kin; more than one only where the function declares `each`.
        store: the folder or URL of the studies.
        threads: that the call may use.
        paths: where Python looks for modules.
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
    """How a call ended.

    Args:
        ending: "lost" where the worker died over it.
        seconds: how long it took.
        reason: one line, unless it is done.
        traceback: of the exception, where there was one.
        key: of the result that it needs and that is corrupt or gone.
    """

    ending: Ending
    seconds: float = 0.0
    reason: str = ""
    traceback: str = ""
    key: str = ""


def carry_out(call: Call) -> Report:
    """Run a call and put its results into the store; never raises."""
    start = time.perf_counter()
    try:
        _run(call)
    except DiskFullError as error:
        return Report("disk full", time.perf_counter() - start, str(error))
    except CorruptResultError as error:
        spent, text = time.perf_counter() - start, str(error)
        return Report("corrupt input", spent, text, traceback.format_exc(), error.key)
    # A task is anybody's code and may raise anything; its neighbors must not suffer.
    except Exception as error:
        ending: Ending = "disk full" if _is_disk_full(error) else "failed"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Report(ending, time.perf_counter() - start, reason, traceback.format_exc())
    return Report("done", time.perf_counter() - start)


def failures_of(call: Call, report: Report) -> list[Failure]:
    """Return what to keep about each task of a call that failed."""
    return [Failure(t.key, str(t), report.reason, report.traceback) for t in call.tasks]


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return MappingProxyType(found)


def _run(call: Call) -> None:
    sys.path.extend(path for path in call.paths if path not in sys.path)
    store, first = Store(call.store), call.tasks[0]
    function = resolve(first.function)
    _limit_threads(call.threads)
    start = time.perf_counter()
    interim = Interim(store.files)
    results = _resumed(function, _arguments(call, store), call, interim)
    share = (time.perf_counter() - start) / len(call.tasks)
    machine = {"host": socket.gethostname(), "cores": os.cpu_count()}
    origin = {"finished": time.time(), **machine, "versions": dict(versions())}
    for task, result in zip(call.tasks, results, strict=True):
        store.save(task.key, result, about(task, share, together=len(call.tasks), **origin))
    interim.close(call.keys)


def _arguments(call: Call, store: Store) -> dict[str, Any]:
    first, each = call.tasks[0], call.tasks[0].declaration.each
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
    function: Any, arguments: Mapping[str, Any], call: Call, interim: Interim
) -> list[Result]:
    """Return the results of a call that goes on from what it has kept, where it keeps anything."""
    name = call.tasks[0].declaration.interim
    folder = None if name is None else interim.open(call.keys)
    if folder is None:
        return _results(function, arguments, call)
    is_begun = any(folder.iterdir())
    try:
        return _results(function, {**arguments, str(name): str(folder)}, call)
    except Exception as error:
        if _is_disk_full(error):
            raise
        interim.close(call.keys)
        if not is_begun:
            raise
    # What was kept may be the reason, damaged or of another version.
    return _results(function, {**arguments, str(name): str(interim.open(call.keys))}, call)


def _results(function: Any, arguments: Mapping[str, Any], call: Call) -> list[Result]:
    made = function(**arguments)
    results = [made] if declaration_of(function).each is None else list(made)
    if len(results) != len(call.tasks) or not all(isinstance(r, Result) for r in results):
        kinds = ", ".join(sorted({type(r).__name__ for r in results})) or "nothing"
        raise OneBasinError(
            f"{call.tasks[0].function} returned {len(results)} of {kinds} for {len(call.tasks)} "
            "tasks; it must return one Result for each"
        )
    return results


def _limit_threads(threads: int) -> None:
    """Give the call its share of the cores, where its function computes with torch."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _is_disk_full(error: BaseException | None) -> bool:
    """Tell whether an exception, or what it was raised from, is about a lack of room."""
    if error is None:
        return False
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return is_full or isinstance(error, DiskFullError) or _is_disk_full(error.__cause__)


def import_paths() -> tuple[str, ...]:
    """Return where this process looks for modules, for workers to look there too."""
    return tuple(os.path.abspath(path) for path in sys.path)
