"""Collection: what a folder holds of a study, put together from its store; nothing is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from onebasin.errors import OneBasinError
from onebasin_studies.papers.catalogue import find_study
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.plan import Plan
from onebasin_studies.runtime.store import CorruptResultError, Failure, Record
from onebasin_studies.runtime.study import Study, Verdict
from onebasin_studies.runtime.task import Task


@dataclass(frozen=True, eq=False)
class CollectedStudy:
    """A study and all that was found of it.

    Args:
        study: the entry of the catalogue.
        scale: that was asked for.
        rows: of all its targets that are done, in their order.
        num_tasks: that it needs, inputs included.
        num_done: of these.
        num_missing: targets without rows.
        failures: of its tasks.
        seconds: of work by all its tasks, those shared with other studies included.
        elapsed: seconds in which at least one of them was at work.
        finished: when the last one was done, in seconds since 1970; None before the first.
        versions: of the packages it was run with, by name; several where they changed.
        machines: that it was run on, as "host (cores)".
        seeds: of all its tasks, sorted.
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

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration as plain values."""
        return self.study.config_json(self.scale)

    def verdict(self) -> Verdict:
        """Return the study's verdict; without any rows there is not enough data."""
        if not self.rows:
            return Verdict.inconclusive("Nothing is measured yet.")
        found = self.study.verdict(self.rows)
        if not self.num_missing:
            return found
        is_one = self.num_missing == 1
        gap = f"{self.num_missing} of its measurements {'is' if is_one else 'are'} missing."
        return Verdict(found.outcome, f"{found.sentence} {gap}")


def collect(folder: StudyFolder, name: str) -> CollectedStudy:
    """Put together what a folder holds of a study.

    Args:
        folder: of studies.
        name: of one of them.

    Raises:
        OneBasinError: when the study is of another configuration or unknown to this version,
            or a result is corrupt.
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
        raise OneBasinError(f"{error}; run the study again to compute it anew") from error
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
    """Return how long at least one task was at work; tasks of one call end together."""
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
    found: dict[str, set[str]] = {}
    for record in records:
        for name, version in record.data["versions"].items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in found.items()}


def _seeds(tasks: Iterable[Task]) -> list[int]:
    found: set[int] = set()
    for task in tasks:
        for value in (task.arguments.get("seed"), *task.arguments.get("seeds", ())):
            found |= {value} if isinstance(value, int) else set()
    return sorted(found)
