"""Records of finished tasks and of failures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from onebasin_studies.runtime.task import Task


@dataclass(frozen=True)
class Record:
    """The metadata of a finished task.

    Args:
        data: "function", "version", "arguments", "inputs", "seconds", "finished" (seconds since
            1970), "host", "cores", "versions" and "files" (size and hash by suffix).
    """

    data: Mapping[str, Any]

    @staticmethod
    def parse(text: bytes) -> Record:
        """Return the record from JSON text.

        Raises:
            ValueError: if the text is not valid JSON or lacks a field.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or not _is_whole(data):
            raise ValueError("no record")
        return Record(data)

    @property
    def seconds(self) -> float:
        """Duration of the task in seconds."""
        return float(self.data["seconds"])


@dataclass(frozen=True)
class Failure:
    """The failure of a task.

    Args:
        key: key of the task.
        task: description of the task.
        reason: the exception in one line.
        traceback: the full traceback.
    """

    key: str
    task: str
    reason: str
    traceback: str

    @staticmethod
    def parse(text: bytes) -> Failure | None:
        """Return the failure from JSON text, or None if it is invalid."""
        try:
            data = json.loads(text)
        except ValueError:
            return None
        names = {field.name for field in fields(Failure)}
        if not isinstance(data, dict) or set(data) != names:
            return None
        return Failure(**data) if all(isinstance(v, str) for v in data.values()) else None


def about(task: Task, seconds: float, **more: Any) -> dict[str, Any]:
    """Return the record data of a task."""
    return {**task.to_json(), "seconds": seconds, "cost": task.cost, **more}


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Return whether a record has all required fields."""
    files, versions = record.get("files"), record.get("versions")
    return (
        all(isinstance(record.get(name), int | float) for name in ("seconds", "finished"))
        and all(name in record for name in ("host", "cores"))
        and isinstance(versions, dict)
        and all(isinstance(version, str) for version in versions.values())
        and isinstance(files, dict)
        and all(
            isinstance(file, dict) and {"bytes", "sha256"} <= set(file) for file in files.values()
        )
    )
