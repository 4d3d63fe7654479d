"""Execution of studies by an engine, resuming from the results in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.engines.call import Call, Report, failures_of, import_paths
from onebasin_studies.runtime.engines.engine import Engine
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.progress import Estimate, Progress
from onebasin_studies.runtime.schedule import TRIES, Plan, Schedule
from onebasin_studies.runtime.store import (
    CorruptResultError,
    DiskFullError,
    Failure,
    PartialResults,
    Store,
)
from onebasin_studies.runtime.study import Study
from onebasin_studies.runtime.task import Task

Note = Callable[[str], None]
BEAT = 2.0
"""Seconds between two heartbeats."""

VISIBILITY_TIMEOUT = 10.0
"""Seconds until files of a worker must be visible, also on a network file system."""


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Args:
        progress: the final progress.
        failures: the failed tasks.
        skipped: descriptions of tasks that did not run because an input failed.
    """

    progress: Progress
    failures: Sequence[Failure]
    skipped: Sequence[str]

    @property
    def is_complete(self) -> bool:
        """Whether every task succeeded."""
        return self.progress.done == self.progress.total


def run_studies(
    studies: Mapping[str, Study],
    *,
    scale: str,
    out: str | os.PathLike[str],
    engine: Engine,
    note: Note | None = None,
    progress: Callable[[Progress], None] | None = None,
    check: Callable[[Sequence[Task]], None] | None = None,
) -> Outcome:
    """Run studies and skip results that the folder already has.

    An exception in a task is stored with its traceback; only its dependents are skipped. A killed
    run loses at most the running tasks. A killed training resumes, except behind a URL.

    Args:
        studies: studies by name.
        scale: "smoke", "small" or "paper".
        out: a new folder or fsspec URL, or one with the same studies at this scale.
        engine: the engine; it is entered and exited here.
        note: a callback for messages about problems.
        progress: a callback, called about once per second.
        check: a callback with the tasks to run, called before the first one; it may raise.

    Returns:
        The final progress and the failures.

    Raises:
        OneBasinError: if the folder holds other files, workers cannot reach it, or the disk is
            full.
    """
    plan = Plan.of({name: study.tasks(study.config(scale)) for name, study in studies.items()})
    folder = StudyFolder(out)
    if folder.files.is_private and not engine.is_here:
        raise OneBasinError(
            f"{folder.files.root}: is in the memory of this process, which workers cannot "
            "reach; choose a folder or a URL that they can reach"
        )
    with folder.locked():
        folder.initialize(studies, scale, plan)
        run = _Run(plan, folder, note or (lambda text: None))
        if check is not None:
            check([plan.tasks[key] for key in run.schedule.needed])
        with engine:
            return run.to_end(engine, progress or (lambda progress: None))


class _Run:
    """The loop over the schedule, the engine and the store."""

    def __init__(self, plan: Plan, folder: StudyFolder, note: Note) -> None:
        self.plan, self.folder, self.note = plan, folder, note
        self.start = self.last_beat = time.monotonic()
        self.estimate = Estimate()
        done = _usable(plan, folder.store, self.estimate, note)
        self.schedule = Schedule(plan, done, _begun(plan, done, folder.store))
        self.calls: list[Call] = []
        self.failures: list[Failure] = []
        self.skipped: list[str] = []

    def to_end(self, engine: Engine, show: Callable[[Progress], None]) -> Outcome:
        state = "stopped"
        self.folder.write_heartbeat(self.progress(engine))
        try:
            while not self.schedule.is_over:
                self._submit(engine)
                for call, report in engine.wait(1.0):
                    self._take(call, report)
                now = self.progress(engine)
                show(now)
                if time.monotonic() - self.last_beat > BEAT:
                    self.last_beat = time.monotonic()
                    self.folder.write_heartbeat(now)
            state = "finished"
        finally:
            self._last_beat(engine, state)
        return Outcome(self.progress(engine), self.failures, self.skipped)

    def progress(self, engine: Engine) -> Progress:
        schedule = self.schedule
        closed = schedule.done | schedule.failed | schedule.skipped
        rest = [self.plan.tasks[key] for key in schedule.needed if key not in closed]
        reused = len(self.plan.tasks) - len(schedule.needed)
        return Progress(
            total=len(self.plan.tasks),
            done=reused + len(schedule.done),
            reused=reused,
            failed=len(schedule.failed),
            skipped=len(schedule.skipped),
            running=tuple(map(str, self.calls)),
            seconds=time.monotonic() - self.start,
            left=self.estimate.left(rest, engine.slots),
        )

    def _submit(self, engine: Engine) -> None:
        """Fill the free slots."""
        while True:
            used = sum(_slots(call.tasks[0], engine) for call in self.calls)
            tasks = self.schedule.next_call(engine.slots - used)
            if not tasks or (used and used + _slots(tasks[0], engine) > engine.slots):
                return
            abreast = min(engine.slots, len(self.calls) + len(self.schedule.ready()))
            threads = max(1, engine.threads // max(1, abreast))
            call = Call(tasks, self.folder.files.root, threads, import_paths())
            self.schedule.start(tasks)
            self.calls.append(call)
            engine.submit(call)

    def _take(self, call: Call, report: Report) -> None:
        self.calls.remove(call)
        if report.ending == "disk full":
            raise DiskFullError(
                f"{self.folder.files.root}: the disk is full; free space and run again (finished "
                "results are kept)"
            )
        if report.ending == "done":
            self._check_kept(call)
            self.schedule.finish(call.tasks)
            for task in call.tasks:
                self.estimate.update(task, report.seconds / len(call.tasks))
            return
        if report.ending == "corrupt input" and self._reopen(call, report):
            return
        is_lost = report.ending == "lost"
        if self.schedule.retry(call.tasks, is_lost=is_lost):
            if is_lost:
                self.note(f"{call}: lost, {report.reason}; it is started again")
            return
        self._fail(call, report)

    def _check_kept(self, call: Call) -> None:
        """Check that the reported results exist in the store."""
        end = time.monotonic() + VISIBILITY_TIMEOUT
        while not all(map(self.folder.store.has, call.keys)):
            if time.monotonic() > end:
                raise OneBasinError(
                    f"{self.folder.files.root}: a worker has put results there that cannot be seen "
                    "from here; --out must be one place that this process and all workers reach"
                )
            time.sleep(0.5)

    def _reopen(self, call: Call, report: Report) -> bool:
        """Schedule a corrupt result again, unless it is already scheduled; return whether it is."""
        is_known = self.schedule.is_open(report.key)
        if not self.schedule.invalidate(report.key, call.tasks):
            return False
        if not is_known:
            self.folder.store.discard(report.key)
            self.note(f"{report.reason}; it is computed again")
        return True

    def _fail(self, call: Call, report: Report) -> None:
        often = f" (started {TRIES} times)" if report.ending == "lost" else ""
        failures = failures_of(call, report)
        for failure in failures:
            self.folder.store.save_failure(failure)
            self.note(f"{failure.task}: failed: {failure.reason}{often}")
        self.failures += failures
        self.skipped += map(str, self.schedule.fail(call.tasks))

    def _last_beat(self, engine: Engine, state: str) -> None:
        self.calls.clear()
        try:
            self.folder.write_heartbeat(self.progress(engine), state)
        except DiskFullError:
            if state == "finished":
                raise


def _usable(plan: Plan, store: Store, estimate: Estimate, note: Note) -> set[str]:
    """Return the keys of valid results; delete the others with a note."""
    usable = set()
    for key in store.finished() & plan.tasks.keys():
        try:
            record = store.check(key)
        except CorruptResultError as error:
            note(f"{error}; it is computed again")
            store.discard(key)
            continue
        if record is not None:
            usable.add(key)
            estimate.update(plan.tasks[key], record.seconds)
    return usable


def _begun(plan: Plan, done: set[str], store: Store) -> list[tuple[str, ...]]:
    """Return the interrupted calls; delete partial results that are no longer needed."""
    interim, resumable = PartialResults(store.files), []
    for keys in interim.begun():
        if all(key in plan.tasks and key not in done for key in keys):
            resumable.append(keys)
        elif any(key in done for key in keys):
            interim.close(keys)
    return resumable


def _slots(task: Task, engine: Engine) -> int:
    return min(task.declaration.cpus, engine.slots)
