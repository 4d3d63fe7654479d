"""Status: how far the studies of a folder are, seen from anywhere that can read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.progress import duration


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Args:
        study: its name.
        scale: that was asked for.
        total: tasks that it needs.
        done: of these.
        failed: tasks whose last try failed.
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
    """How far the studies of a folder are.

    Args:
        studies: in order of their names.
        state: of the last run: "running", "finished", "stopped" or "never run".
        running: tasks in work, in words.
        left: estimated seconds to the end of the run, where one is at work.
        seconds: since the run began, likewise.
    """

    studies: Sequence[StudyStatus]
    state: str
    running: Sequence[str] = ()
    left: float | None = None
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        studies = [{**asdict(study), "state": study.state} for study in self.studies]
        return {**asdict(self), "studies": studies, "running": list(self.running)}

    def to_text(self) -> str:
        """Return the last run's state in a line, and what it is at."""
        if self.state != "running":
            return {
                "finished": "the last run is finished",
                "stopped": "the last run was stopped; run it again to go on",
            }.get(self.state, "nothing was run yet")
        left = "" if self.left is None else f", about {duration(self.left)} left"
        head = f"running for {duration(self.seconds or 0.0)}{left}"
        return "\n".join([head, *(f"  {task}" for task in self.running)])


def status_of(folder: StudyFolder) -> Status:
    """Return how far the studies of a folder are.

    Raises:
        OneBasinError: when the folder holds no studies.
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
    beat = folder.heartbeat()
    if beat is None:
        return Status(studies, "never run")
    state = beat.current_state()
    if state != "running":
        return Status(studies, state)
    now = beat.progress
    return Status(studies, state, now.running, now.left, now.seconds)
