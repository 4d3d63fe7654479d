"""Reproductions of papers: a trainer, a task graph, studies and their reports.

A study is a configuration and a function that produces rows. Its tasks are plain functions; their
results are stored under keys of the call, so a killed run resumes without loss.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onebasin_studies.papers.catalogue import STUDIES, find_studies, find_study
    from onebasin_studies.papers.collection import read_rows
    from onebasin_studies.runtime.execution import Outcome, run_studies
    from onebasin_studies.runtime.study import Picture, Study, Table, Verdict
    from onebasin_studies.runtime.task import Result, Task, task

__all__ = [
    "STUDIES",
    "Outcome",
    "Picture",
    "Result",
    "Study",
    "Table",
    "Task",
    "Verdict",
    "find_studies",
    "find_study",
    "read_rows",
    "run_studies",
    "task",
]

_MODULES = {
    "papers.catalogue": "STUDIES find_studies find_study",
    "papers.collection": "read_rows",
    "runtime.execution": "Outcome run_studies",
    "runtime.study": "Picture Study Table Verdict",
    "runtime.task": "Result Task task",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `onebasin --help` is fast."""
    for module, names in _MODULES.items():
        if name in names.split():
            return getattr(import_module(f"onebasin_studies.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
