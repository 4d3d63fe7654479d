"""The local engine: worker processes on this machine."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.engines.call import Call, Report, import_paths

WORKER = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from onebasin_studies.runtime.engines.worker import work"
)


class LocalEngine:
    """Runs calls in worker processes.

    A worker that dies loses only its current call and is replaced. Workers end with this process,
    even if it is killed.

    Args:
        jobs: maximum number of parallel calls; default: one per available core.

    Raises:
        OneBasinError: if `jobs` is less than 1.
    """

    is_here = False

    def __init__(self, jobs: int | None = None) -> None:
        cores = num_cores()
        self.slots = cores if jobs is None else jobs
        self.threads = max(cores, self.slots)
        if self.slots < 1:
            raise OneBasinError(f"--jobs is {jobs}; it must be at least 1")
        self._ended: queue.Queue[tuple[_Worker, Report]] = queue.Queue()
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []
        self._waiting: list[Call] = []

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in (*self._idle, *self._busy):
            worker.stop()
        self._idle, self._busy, self._waiting = [], [], []

    def submit(self, call: Call) -> None:
        """Give a call to an idle worker, or queue it."""
        if len(self._busy) >= self.slots:
            self._waiting.append(call)
            return
        worker = self._idle.pop() if self._idle else _Worker(self._ended)
        self._busy.append(worker)
        worker.start(call)

    def wait(self, seconds: float) -> Sequence[tuple[Call, Report]]:
        """Return the calls that have ended; wait for the first one."""
        ended = []
        try:
            ended.append(self._end(*self._ended.get(timeout=seconds)))
            while True:
                ended.append(self._end(*self._ended.get_nowait()))
        except queue.Empty:
            return ended

    def _end(self, worker: _Worker, report: Report) -> tuple[Call, Report]:
        call = worker.call
        assert call is not None
        self._busy.remove(worker)
        if report.ending == "lost":
            worker.stop()
        else:
            self._idle.append(worker)
        if self._waiting:
            self.submit(self._waiting.pop(0))
        return call, report


@dataclass(eq=False)
class _Worker:
    """One worker process and a thread that reads its reports."""

    ended: queue.Queue[tuple[_Worker, Report]]
    call: Call | None = None
    process: Any = None
    listener: Any = None
    errors: Any = field(default_factory=tempfile.TemporaryFile)

    def start(self, call: Call) -> None:
        self.call = call
        process = self.process or self._launch()
        # If the process has died, the listener reports it.
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(call, process.stdin)
            process.stdin.flush()

    def _launch(self) -> Any:
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{WORKER}; work()", *import_paths()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            # Spinning threads would slow down the other workers. A separate session keeps
            # Ctrl-C away from the workers.
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
            start_new_session=True,
        )
        self.listener = threading.Thread(target=self._listen, args=(self.process,), daemon=True)
        self.listener.start()
        return self.process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        while True:
            try:
                report = pickle.load(process.stdout)
            except (EOFError, pickle.UnpicklingError, OSError, ValueError):
                break
            self.ended.put((self, report))
        if self.process is not None:
            self.ended.put(
                (self, Report("lost", reason=_cause(process.wait(), self._last_words())))
            )

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            self.listener.join()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        self.errors.close()


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cause(code: int, last_words: str) -> str:
    if code == -signal.SIGKILL:
        return "its worker was killed, possibly because memory ran out"
    said = f": {last_words}" if last_words else ""
    return f"its worker ended with code {code}{said}"
