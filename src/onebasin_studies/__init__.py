"""Studies: a study is a configuration in and rows out; engines run its tasks.

Tasks are plain functions whose results are kept under keys made of the call, so that nothing
is computed twice, within a study, across studies or after a run was killed.
"""

from onebasin_studies.papers.catalogue import STUDIES, find_studies, find_study
from onebasin_studies.runtime.execution import Outcome, run_studies
from onebasin_studies.runtime.study import Picture, Study, Table, Verdict
from onebasin_studies.runtime.task import Result, Task, declare

__all__ = [
    "STUDIES",
    "Outcome",
    "Picture",
    "Result",
    "Study",
    "Table",
    "Task",
    "Verdict",
    "declare",
    "find_studies",
    "find_study",
    "run_studies",
]
