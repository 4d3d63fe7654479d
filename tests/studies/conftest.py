import os

import pytest
from filelock import FileLock

from onebasin_studies import find_study
from onebasin_studies.runtime.folder import StudyFolder
from tests.studies.runs import run


@pytest.fixture(scope="session")
def run_at_smoke(tmp_path_factory):
    """Run studies of the catalogue at smoke into one folder, in which no task runs twice.

    All workers of a test session share the folder. The lock lets one of them run at a time.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def run_studies(*names: str) -> StudyFolder:
        with FileLock(shared / "smoke.lock"):
            outcome = run(shared / "smoke", *map(find_study, names))
        assert outcome.is_complete, [failure.traceback for failure in outcome.failures]
        return StudyFolder(shared / "smoke")

    return run_studies
