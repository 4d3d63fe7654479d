"""Summaries: the verdicts and the failures of studies, as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onebasin.errors import OneBasinError
from onebasin_studies.papers.catalogue import find_studies
from onebasin_studies.papers.collection import CollectedStudy
from onebasin_studies.report.studies.files import write_run_index, write_study_reports
from onebasin_studies.runtime.engines import Engine, LocalEngine
from onebasin_studies.runtime.execution import Outcome, run_studies
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.progress import Progress
from onebasin_studies.tasks.specs import check_data

Note = Callable[[str], None]


@dataclass(frozen=True)
class RunSummary:
    """The result of `run_and_report`.

    Args:
        out: folder or URL of the results.
        outcome: the outcome of the tasks.
        studies: the reported studies.
        is_complete: whether all tasks ended without an error and all studies were reported.
    """

    out: str
    outcome: Outcome
    studies: Sequence[CollectedStudy]
    is_complete: bool

    def summary(self) -> str:
        """Return the text that `onebasin study run` prints."""
        verdicts = _verdict_lines(self.studies)
        return f"{verdicts}\n\nwrote {self.out}/report/index.html{self._failures()}"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "out": self.out,
            **self.outcome.progress.to_json(),
            **_verdicts(self.studies),
            "failures": [vars(failure) for failure in self.outcome.failures],
        }

    def _failures(self) -> str:
        if self.outcome.is_complete:
            return ""
        number = len(self.outcome.skipped)
        skipped = f", {number} more depend on them" if number else ""
        progress = self.outcome.progress
        return f"\n{progress.failed} of {progress.total} tasks failed{skipped}; run again to retry"


def run_and_report(
    names: Sequence[str],
    *,
    scale: str,
    out: str,
    engine: Engine,
    note: Note,
    progress: Callable[[Progress], None],
) -> RunSummary:
    """Run studies by name and write their reports.

    Args:
        names: names of studies, or "all".
        scale: "smoke", "small" or "paper".
        out: folder or URL of the results.
        engine: runs the tasks.
        note: receives a line for each failed task and each study that cannot be reported.
        progress: receives the progress of the run.

    Raises:
        OneBasinError: a name or the scale is unknown, or data are missing.
    """
    studies = find_studies(names, scale)
    # Workers on another machine may have data that are missing here.
    check = check_data if isinstance(engine, LocalEngine) else None
    outcome = run_studies(
        studies, scale=scale, out=out, engine=engine, check=check, note=note, progress=progress
    )
    reported = write_study_reports(StudyFolder(out), note)
    selected = [study for study in reported if study.study.name in studies]
    is_complete = outcome.is_complete and len(selected) == len(studies)
    return RunSummary(out, outcome, selected, is_complete)


@dataclass(frozen=True)
class ReportSummary:
    """The result of `report_folders`.

    Args:
        runs: the reported studies of each run.
        page: the page that shows all of them.
        notes: a line for each study that cannot be reported.
        is_index: whether the page is an index of several runs.
    """

    runs: Mapping[str, Sequence[CollectedStudy]]
    page: str
    notes: tuple[str, ...]
    is_index: bool

    def summary(self) -> str:
        """Return the text that `onebasin study report` prints."""
        blocks = [
            f"{name}\n{_verdict_lines(studies)}" if self.is_index else _verdict_lines(studies)
            for name, studies in self.runs.items()
        ]
        return "\n\n".join([*blocks, f"wrote {self.page}"])

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        verdicts = {name: _verdicts(studies) for name, studies in self.runs.items()}
        data = {"runs": verdicts} if self.is_index else next(iter(verdicts.values()))
        return {**data, "unreported": list(self.notes)}


def report_folders(folders: Sequence[str], out: str | None) -> ReportSummary:
    """Write the reports of folders of studies.

    Args:
        folders: output folders of `onebasin study run`.
        out: folder or URL of the reports of several folders and their index, or None.

    Raises:
        OneBasinError: several folders without `out`, or none of the studies can be reported.
    """
    notes: list[str] = []
    if out is not None:
        runs = write_run_index([StudyFolder(folder) for folder in folders], out, notes.append)
        return ReportSummary(runs, f"{out}/index.html", tuple(notes), is_index=True)
    if len(folders) > 1:
        raise OneBasinError(
            f"study report: {len(folders)} folders given; name one for the index with --out"
        )
    studies = write_study_reports(StudyFolder(folders[0]), notes.append)
    page = f"{folders[0]}/report/index.html"
    return ReportSummary({folders[0]: studies}, page, tuple(notes), is_index=False)


def _verdicts(studies: Sequence[CollectedStudy]) -> dict[str, Any]:
    return {"verdicts": {study.study.name: vars(study.verdict()) for study in studies}}


def _verdict_lines(studies: Sequence[CollectedStudy]) -> str:
    verdicts = {study.study.name: study.verdict() for study in studies}
    return "\n".join(f"{name}: {v.outcome}\n  {v.sentence}" for name, v in verdicts.items())
