"""Status of the studies in a folder, readable from any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.progress import duration


@dataclass(frozen=True)
class StudyStatus:
    """The status of a study.

    Args:
        study: name of the study.
        scale: its scale.
        total: number of its tasks.
        done: number of finished tasks.
        failed: number of tasks whose last try failed.
    """

    study: str
    scale: str
    total: int
    done: int
    failed: int

    @property
    def state(self) -> str:
        """Return "complete", "failed" or "incomplete"."""
        if self.done == self.total:
            return "complete"
        return "failed" if self.failed else "incomplete"


@dataclass(frozen=True)
class Status:
    """The status of the studies in a folder.

    Args:
        studies: one status per study, sorted by name.
        state: state of the last run: "running", "finished", "stopped" or "never run".
        running: descriptions of the running tasks.
        left: estimated remaining seconds of a running run.
        seconds: seconds since a running run began.
    """

    studies: Sequence[StudyStatus]
    state: str
    running: Sequence[str] = ()
    left: float | None = None
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the status as plain JSON values."""
        studies = [{**asdict(study), "state": study.state} for study in self.studies]
        return {**asdict(self), "studies": studies, "running": list(self.running)}

    def to_text(self) -> str:
        """Return the state of the last run and its running tasks as text."""
        if self.state != "running":
            return {
                "finished": "the last run is finished",
                "stopped": "the last run was stopped; run it again to go on",
            }.get(self.state, "nothing was run yet")
        left = "" if self.left is None else f", about {duration(self.left)} left"
        head = f"running for {duration(self.seconds or 0.0)}{left}"
        return "\n".join([head, *(f"  {task}" for task in self.running)])


def status_of(folder: StudyFolder) -> Status:
    """Return the status of the studies in a folder.

    Raises:
        OneBasinError: if the folder has no studies.
    """
    names = folder.studies()
    done, failed = folder.store.finished(), set(folder.store.failures())
    studies = []
    for name in names:
        data = folder.manifest(name)
        if data is not None:
            keys = {task["key"] for task in data["tasks"]}
            counts = len(keys), len(keys & done), len((keys & failed) - done)
            studies.append(StudyStatus(name, data["scale"], *counts))
    heartbeat = folder.heartbeat()
    if heartbeat is None:
        return Status(studies, "never run")
    state = heartbeat.current_state()
    if state != "running":
        return Status(studies, state)
    now = heartbeat.progress
    return Status(studies, state, now.running, now.left, now.seconds)
