"""One row of the coverage table: inference and verification of one model of the catalogue.

Each row is measured in its own process. A model that runs out of memory or time affects only its
own row.
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

VERIFIED, INFERRED, WRONG = "verified", "inferred", "wrong groups"
NOT_BUILT, NOT_INFERRED, NOT_VERIFIED = "not built", "not inferred", "not verified"
TIMEOUT, KILLED = "timeout", "killed"


@dataclass(frozen=True)
class Row:
    """The results of one model; fields that were not measured are None or empty.

    Args:
        library, name, family: the entry of the catalogue.
        status: one of the constants of this module.
        reason: first line of the error.
        parameters: number of parameter entries.
        groups: number of groups, nested ones included.
        log10_order: log10 of the number of equivalent copies of the model.
        permutable_fraction: fraction of the parameter entries with a dimension in a group.
        unsupported_ops: one line per unsupported operator: name, reason and source line.
        unused: number of tensors that no output depends on.
        failed_groups: names of the groups that failed verification.
        max_error: largest relative change of an output, in float64.
        inference_seconds, verification_seconds: wall-clock times.
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
    inference_seconds: float | None = None
    verification_seconds: float | None = None
    peak_gibibytes: float | None = None


def preload(libraries: Iterable[str]) -> None:
    """Import the libraries once, before the processes fork."""
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
    """Measure one model in this process, and send its row after each step.

    Args:
        connection: receives the rows; the last one counts.
        entry: the model.
        controls: number of groups with a negative control, True for all; None: no verification.
        threads: number of threads of this process.
        memory: limit of the address space of this process, in GiB.
    """
    _silence()
    limit = int(memory * GIBIBYTE)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    torch.set_num_threads(threads)
    measure(entry, controls=controls, report=connection.send)


def measure(entry: Entry, *, controls: bool | int | None, report: Callable[[Row], object]) -> Row:
    """Build, infer and verify one model; `report` receives the row after each step."""
    row = Row(entry.library, entry.name, entry.family)
    status = NOT_BUILT
    try:
        model = entry.build()
        args, kwargs = entry.example(model)
        row = replace(row, parameters=sum(p.numel() for p in model.parameters()))
        report(row)
        status = NOT_INFERRED
        row, symmetry = _inferred(row, model, args, kwargs)
        report(row)
        status = NOT_VERIFIED
        if controls is not None:
            row = _verified(row, symmetry, model, args, kwargs, controls)
    except Exception as error:
        row = replace(row, status=status, reason=_first_line(error))
    row = replace(row, peak_gibibytes=_peak())
    report(row)
    return row


def _inferred(row: Row, model: torch.nn.Module, args: Any, kwargs: Any) -> tuple[Row, Any]:
    onebasin = importlib.import_module("onebasin")
    start = time.perf_counter()
    symmetry = onebasin.infer_symmetry(model, args, kwargs)
    row = replace(row, status=INFERRED, inference_seconds=time.perf_counter() - start)
    return _described(row, symmetry), symmetry


def _verified(
    row: Row,
    symmetry: Any,
    model: torch.nn.Module,
    args: Any,
    kwargs: Any,
    controls: bool | int,
) -> Row:
    start = time.perf_counter()
    verification = verify(symmetry, model, args, kwargs, seed=0, controls=controls)
    seconds = time.perf_counter() - start
    failed = tuple(verification.failed_groups)
    error = float(verification.max_error)
    passed = math.isfinite(error) and error <= verification.tolerance and not failed
    row = _described(row, verification.symmetry)
    return replace(
        row,
        status=VERIFIED if passed else WRONG,
        reason=f"{len(failed)} groups fail: {', '.join(failed[:3])}" if failed else "",
        failed_groups=failed,
        max_error=error,
        verification_seconds=seconds,
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
    """Discard the output of this process: failed exports print whole graphs."""
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
