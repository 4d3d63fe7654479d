"""Collection of the stored results of a study; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from os import PathLike
from typing import TYPE_CHECKING, Any

from onebasin.errors import OneBasinError
from onebasin_studies.papers.catalogue import find_study
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.schedule import Plan
from onebasin_studies.runtime.store import CorruptResultError, Failure, Record
from onebasin_studies.runtime.study import Study, Verdict
from onebasin_studies.runtime.task import Task

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class CollectedStudy:
    """A study with its stored results.

    Args:
        study: the study.
        scale: its scale.
        rows: rows of all finished targets, in order.
        num_tasks: number of tasks, inputs included.
        num_done: number of finished tasks.
        num_missing: number of targets without rows.
        failures: failures of its tasks.
        seconds: total duration of its tasks, including those shared with other studies.
        elapsed: seconds with at least one running task.
        finished: end of the last task in seconds since 1970, or None.
        versions: versions of the packages by name; several if they changed.
        machines: machines, as "host (cores)".
        seeds: seeds of all its tasks, sorted.
    """

    study: Study
    scale: str
    rows: Sequence[Mapping[str, Any]]
    num_tasks: int
    num_done: int
    num_missing: int
    failures: Sequence[Failure] = ()
    seconds: float = 0.0
    elapsed: float = 0.0
    finished: float | None = None
    versions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    machines: Sequence[str] = ()
    seeds: Sequence[int] = ()

    def frame(self) -> DataFrame:
        """Return the rows as a table; columns of whole numbers with gaps keep their type."""
        from pandas import DataFrame

        return DataFrame(list(self.rows)).convert_dtypes()

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration as plain values."""
        return self.study.config_json(self.scale)

    def verdict(self) -> Verdict:
        """Return the study's verdict; "not enough data" without rows."""
        if not self.rows:
            return Verdict.inconclusive("No measurement is finished.")
        verdict = self.study.verdict(self.rows)
        if not self.num_missing:
            return verdict
        is_one = self.num_missing == 1
        gap = f"{self.num_missing} {'measurement is' if is_one else 'measurements are'} missing."
        return Verdict(verdict.outcome, f"{verdict.sentence} {gap}")


def read_rows(folder: str | PathLike[str], study: str) -> DataFrame:
    """Return the stored rows of a study as a table.

    Args:
        folder: the `--out` of `study run`: a folder or an fsspec URL.
        study: name of the study.

    Raises:
        OneBasinError: the folder has no such study, or a stored result is corrupt.
    """
    stored = StudyFolder(folder)
    if study not in stored.studies():
        known = ", ".join(stored.studies())
        raise OneBasinError(f"{folder}: has no study {study!r}; it has {known}")
    return collect(stored, study).frame()


def collect(folder: StudyFolder, name: str) -> CollectedStudy:
    """Return the stored results of a study.

    Args:
        folder: the study folder.
        name: name of the study.

    Raises:
        OneBasinError: if the study has another configuration or is unknown, or a result is corrupt.
    """
    study, scale = find_study(name), folder.scale
    assert scale is not None
    folder.check_config(name, study.config_json(scale))
    plan = Plan.of({name: study.tasks(study.config(scale))})
    done = folder.store.finished() & plan.tasks.keys()
    try:
        records = [r for key in plan.tasks if key in done and (r := folder.store.record(key))]
        rows, num_missing = _rows(folder, study, scale, plan.targets[name], done)
    except CorruptResultError as error:
        raise OneBasinError(f"{error}; run the study again to recompute it") from error
    failures = folder.store.failures()
    return CollectedStudy(
        study=study,
        scale=scale,
        rows=rows,
        num_tasks=len(plan.tasks),
        num_done=len(done),
        num_missing=num_missing,
        failures=[failures[key] for key in plan.tasks if key in failures],
        seconds=sum(record.seconds for record in records),
        elapsed=_elapsed(records),
        finished=max((record.data["finished"] for record in records), default=None),
        versions=_versions(records),
        machines=sorted({f"{r.data['host']} ({r.data['cores']} cores)" for r in records}),
        seeds=_seeds(plan.tasks.values()),
    )


def _rows(
    folder: StudyFolder, study: Study, scale: str, targets: Iterable[Task], done: set[str]
) -> tuple[list[dict[str, Any]], int]:
    rows: list[dict[str, Any]] = []
    num_missing = 0
    for task in targets:
        if task.key in done:
            rows += study.rows_of(task, folder.store.load(task.key, trusts_tensors=True), scale)
        else:
            num_missing += 1
    return rows, num_missing


def _elapsed(records: Iterable[Record]) -> float:
    """Return the seconds with at least one running task; tasks of one call end together."""
    spans = []
    for record in records:
        end, share = record.data["finished"], record.seconds
        spans.append((end - share * record.data.get("together", 1), end))
    total, last = 0.0, -inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, last))
        last = max(last, end)
    return total


def _versions(records: Iterable[Record]) -> dict[str, list[str]]:
    result: dict[str, set[str]] = {}
    for record in records:
        for name, version in record.data["versions"].items():
            result.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in result.items()}


def _seeds(tasks: Iterable[Task]) -> list[int]:
    seeds: set[int] = set()
    for task in tasks:
        for value in (task.arguments.get("seed"), *task.arguments.get("seeds", ())):
            seeds |= {value} if isinstance(value, int) else set()
    return sorted(seeds)
