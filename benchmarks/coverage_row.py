"""One row of the coverage table: one model of the catalogue, traced and proved.

Owns the measurement and what counts as which status. Runs in a process of its own, so that a
model that takes all memory or never ends costs its row and nothing else.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import resource
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from catalogue import Entry, load_torchvision

from onebasin.symmetry import verify

GIBIBYTE = 2**30

PROVED, TRACED, WRONG = "proved", "traced", "wrong groups"
NOT_BUILT, NOT_TRACED, NOT_PROVED = "not built", "not traced", "not proved"
TIMEOUT, KILLED = "timeout", "killed"


@dataclass(frozen=True)
class Row:
    """What is known about one model; fields that were not reached are None or empty.

    Args:
        library, name, family: the catalogue's entry.
        status: one of the constants of this module.
        reason: the first line of what went wrong.
        parameters: number of parameter entries.
        groups: number of groups, nested ones included.
        log10_order: log10 of the number of equivalent copies of the model.
        permutable_fraction: share of the parameter entries that lie on a movable dimension.
        unsupported_ops: one line per refusal: operator, reason, place.
        unused: number of tensors that no output depends on.
        failed_groups: names of the groups that the proof dropped.
        max_error: the proof's worst error, in float64.
        trace_seconds, prove_seconds: wall-clock time of either.
        peak_gibibytes: peak resident memory of the process.
    """

    library: str
    name: str
    family: str
    status: str = KILLED
    reason: str = ""
    parameters: int | None = None
    groups: int | None = None
    log10_order: float | None = None
    permutable_fraction: float | None = None
    unsupported_ops: tuple[str, ...] = ()
    unused: int | None = None
    failed_groups: tuple[str, ...] = ()
    max_error: float | None = None
    trace_seconds: float | None = None
    prove_seconds: float | None = None
    peak_gibibytes: float | None = None


def preload(libraries: Iterable[str]) -> None:
    """Import what the measurements need, once, before the processes fork."""
    load_torchvision()
    for name in ("onebasin", *libraries):
        importlib.import_module(name)


def measure_into(
    connection: Connection,
    entry: Entry,
    controls: bool | int | None,
    threads: int,
    memory: float,
) -> None:
    """Measure one entry in this process and send its row, and after each step what is known.

    Args:
        connection: takes `Row`s; the last one counts.
        entry: the model.
        controls: how many groups get a negative control, True for all; None: no proof.
        threads: of this process.
        memory: limit of this process's address space, in GiB.
    """
    _silence()
    limit = int(memory * GIBIBYTE)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    torch.set_num_threads(threads)
    measure(entry, controls=controls, report=connection.send)


def measure(entry: Entry, *, controls: bool | int | None, report: Callable[[Row], object]) -> Row:
    """Build, trace and prove one model; `report` receives the row after every step."""
    row = Row(entry.library, entry.name, entry.family)
    status = NOT_BUILT
    try:
        model = entry.build()
        args, kwargs = entry.example(model)
        row = replace(row, parameters=sum(p.numel() for p in model.parameters()))
        report(row)
        status = NOT_TRACED
        row, symmetry = _traced(row, model, args, kwargs)
        report(row)
        status = NOT_PROVED
        if controls is not None:
            row = _proved(row, symmetry, model, args, kwargs, controls)
    except Exception as error:
        row = replace(row, status=status, reason=_first_line(error))
    row = replace(row, peak_gibibytes=_peak())
    report(row)
    return row


def _traced(row: Row, model: torch.nn.Module, args: Any, kwargs: Any) -> tuple[Row, Any]:
    onebasin = importlib.import_module("onebasin")
    start = time.perf_counter()
    symmetry = onebasin.infer_symmetry(model, args, kwargs)
    row = replace(row, status=TRACED, trace_seconds=time.perf_counter() - start)
    return _described(row, symmetry), symmetry


def _proved(
    row: Row,
    symmetry: Any,
    model: torch.nn.Module,
    args: Any,
    kwargs: Any,
    controls: bool | int,
) -> Row:
    start = time.perf_counter()
    proof = verify(symmetry, model, args, kwargs, seed=0, controls=controls)
    seconds = time.perf_counter() - start
    failed = tuple(proof.failed_groups)
    holds = math.isfinite(proof.max_error) and proof.max_error <= proof.tolerance
    row = _described(row, proof.symmetry)
    return replace(
        row,
        status=PROVED if holds and not failed else WRONG,
        reason=f"{len(failed)} groups fail: {', '.join(failed[:3])}" if failed else "",
        failed_groups=failed,
        max_error=float(proof.max_error),
        prove_seconds=seconds,
    )


def _described(row: Row, symmetry: Any) -> Row:
    return replace(
        row,
        groups=len(symmetry.groups),
        log10_order=float(symmetry.log10_order),
        permutable_fraction=float(symmetry.permutable_fraction),
        unsupported_ops=tuple(
            without_folders(f"{r.operator}: {r.reason} ({r.location})")
            for r in symmetry.unsupported_ops
        ),
        unused=len(symmetry.unused),
    )


def _silence() -> None:
    """Send this process's output nowhere: exports print whole graphs when they fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    innermost = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{innermost.filename.rsplit('/', 1)[-1]}:{innermost.lineno}"
    return f"{type(error).__name__}: {without_folders(lines[0])[:300]} [{place}]"


def without_folders(text: str) -> str:
    """Return a text in which files of installed packages are named from their package on."""
    return re.sub(r"\S*/site-packages/", "", text)


def _peak() -> float:
    """Peak resident memory of this process in GiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIBIBYTE
