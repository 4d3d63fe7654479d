"""Infer and verify the symmetry of every model of the catalogue, and write the coverage page.

Every model runs in its own process with a limit on time and memory. A run over part of the
catalogue prints its rows, and writes a page only with `--out`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path

from catalogue import LIBRARIES, Entry, entries
from coverage_page import row_cells, write_page
from coverage_row import INFERRED, KILLED, TIMEOUT, VERIFIED, Row, measure_into, preload

DOCUMENTATION = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
POLL_SECONDS = 0.05


@dataclass
class _Job:
    """A model whose process is running."""

    entry: Entry
    process: ForkProcess
    connection: Connection
    start: float
    row: Row


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if every model is verified (inferred with `--no-verify`)."""
    options = _parser().parse_args(argv)
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    pattern = re.compile(options.only or "")
    chosen = [entry for entry in entries(options.library) if pattern.search(entry.name)]
    if not chosen:
        print("coverage: no model of the catalogue matches", file=sys.stderr)
        return 2
    rows = {(row.library, row.name): row for row in kept_rows(options.keep)}
    remaining = [entry for entry in chosen if (entry.library, entry.name) not in rows]
    for row in measure_all(remaining, options):
        rows[row.library, row.name] = row
        print(f"{len(rows)}/{len(chosen)}", row.library, *row_cells(row), row.reason, flush=True)
        if options.keep is not None:
            with options.keep.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    ordered = [rows[entry.library, entry.name] for entry in chosen]
    whole = options.only is None and options.library is None
    folder = options.out or (DOCUMENTATION if whole else None)
    if folder is not None:
        kept = len(chosen) - len(remaining)
        print(write_page(ordered, environment(options, kept), folder))
    expected = INFERRED if options.no_verify else VERIFIED
    return 0 if all(row.status == expected for row in ordered) else 1


def kept_rows(path: Path | None) -> list[Row]:
    """Return the rows of models that an earlier run measured."""
    if path is None or not path.exists():
        return []
    rows = map(json.loads, path.read_text().splitlines())
    lists = ("unsupported_ops", "failed_groups")
    return [Row(**row | {name: tuple(row[name]) for name in lists}) for row in rows]


def measure_all(chosen: Sequence[Entry], options: argparse.Namespace) -> Iterator[Row]:
    """Yield the row of each finished model, with at most `options.jobs` processes at once."""
    # Forked, so that the libraries are imported once; no tensor is computed before the fork.
    context = multiprocessing.get_context("fork")
    preload({entry.library for entry in chosen})
    waiting, running = list(chosen), []
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                running.append(_start(context, waiting.pop(0), options))
            for job in list(running):
                if _ended(job, options.timeout):
                    running.remove(job)
                    yield job.row
            time.sleep(POLL_SECONDS)
    finally:
        for job in running:
            job.process.kill()


def _start(context: ForkContext, entry: Entry, options: argparse.Namespace) -> _Job:
    receiver, sender = context.Pipe(duplex=False)
    controls = True if options.controls is None else options.controls
    if options.no_verify:
        controls = None
    arguments = (sender, entry, controls, options.threads, options.memory)
    process = context.Process(target=measure_into, args=arguments, daemon=True)
    process.start()
    sender.close()
    row = Row(entry.library, entry.name, entry.family)
    return _Job(entry, process, receiver, time.monotonic(), row)


def _ended(job: _Job, timeout: float) -> bool:
    """Receive the rows of a process; True if it has ended or was stopped."""
    alive = job.process.is_alive()
    try:
        while job.connection.poll():
            job.row = job.connection.recv()
    except EOFError:
        alive = False
    if not alive:
        job.process.join()
        if job.process.exitcode != 0:
            reason = f"the process ended with {job.process.exitcode}"
            job.row = replace(job.row, status=KILLED, reason=reason)
        return True
    if time.monotonic() - job.start > timeout:
        job.process.kill()
        job.process.join()
        job.row = replace(job.row, status=TIMEOUT, reason=f"more than {timeout:.0f} s")
        return True
    return False


def environment(options: argparse.Namespace, num_kept: int) -> dict[str, str]:
    """Return the versions, the machine, the processes and the threads of this run."""
    packages = ("torch", "torchvision", "timm", "transformers")
    controls = "every group" if options.controls is None else f"{options.controls} groups a model"
    return {
        **{name: version(name) for name in packages},
        "Python": platform.python_version(),
        "machine": f"{platform.machine()} with {os.cpu_count()} cores",
        "controls": controls,
        "processes": f"{options.jobs} of {options.threads} thread(s)",
        "rows of earlier runs, whose times were measured under other loads": str(num_kept),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="REGEX", help="only models whose name matches")
    parser.add_argument("--library", choices=sorted(LIBRARIES), help="only models of one library")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each (default: 1)")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one model")
    parser.add_argument("--memory", type=float, default=20.0, help="GiB for one model")
    parser.add_argument(
        "--controls", type=int, help="groups with a negative control (default: all)"
    )
    parser.add_argument(
        "--keep", type=Path, help="file of finished rows; a later run measures only the others"
    )
    parser.add_argument("--no-verify", action="store_true", help="infer only")
    parser.add_argument("--out", type=Path, help="folder of coverage.md and coverage.json")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
