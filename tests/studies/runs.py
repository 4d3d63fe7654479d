"""Shared by tests of studies: a run, and the files in its folder."""

from pathlib import Path

from onebasin_studies import Outcome, Study, Task, run_studies
from onebasin_studies.runtime.engines import Engine, InlineEngine
from onebasin_studies.runtime.folder import StudyFolder


def run(out, *studies: Study, engine: Engine | None = None, note=None, scale="smoke") -> Outcome:
    """Run studies, in this process unless an engine is given."""
    return run_studies(
        {study.name: study for study in studies},
        scale=scale,
        out=out,
        engine=engine or InlineEngine(),
        note=note,
    )


def as_if_of_mnist(rows):
    """Rows of smoke as if they were of data that the claims are about, to be evaluable."""
    return [
        {
            column: value.replace("digits", "MNIST") if isinstance(value, str) else value
            for column, value in row.items()
        }
        for row in rows
    ]


def value_of(out, task: Task) -> int:
    """The one value that a stored task has made."""
    ((_, value),) = [*StudyFolder(out).store.load(task.key).rows[0].items()]
    return value


def stored_files(out: Path, task: Task) -> dict[str, Path]:
    """The files of a stored result, by suffix."""
    return {path.suffix: path for path in (out / "results" / task.key[:2]).glob(f"{task.key}*")}
