"""Study folders: their studies, their scale and the lock of the running process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.progress import Progress
from onebasin_studies.runtime.schedule import Plan
from onebasin_studies.runtime.store import Store
from onebasin_studies.runtime.study import Study

MARK = "studies.json"
HEARTBEAT = "progress.json"
FORMAT = 1
SILENCE = 60.0
"""Seconds without a heartbeat after which a remote run counts as ended."""

OWN_FILES = re.compile(
    r"results/[0-9a-f]{2}/[0-9a-f]{32}\.[\w.]+|(studies|report)/[^/]+|partial/.+|" + HEARTBEAT
)


class StudyFolder:
    """The folder or URL of `study run --out`.

    Args:
        root: the folder or fsspec URL.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.store = Store(root)
        self.files = self.store.files

    @property
    def scale(self) -> str | None:
        """The scale of all studies in the folder, or None for an empty one.

        It is read from the studies if the file with the scale is missing.

        Raises:
            OneBasinError: if another version wrote the folder.
        """
        mark = self._json(MARK)
        if mark is None:
            return next((scale for name in self.names() if (scale := self._scale_of(name))), None)
        if mark.get("format") != FORMAT:
            raise OneBasinError(
                f"{self.files.root}: its studies have format {mark.get('format')}, but this "
                f"version of onebasin writes {FORMAT}; choose another --out"
            )
        if not isinstance(mark.get("scale"), str):
            raise self._corrupt(MARK)
        return mark["scale"]

    def initialize(self, studies: Mapping[str, Study], scale: str, plan: Plan) -> None:
        """Register these studies at this scale in the folder.

        Raises:
            OneBasinError: if the folder holds other files, another scale, or a study with another
                configuration.
        """
        stored_scale = self.scale
        if stored_scale is None and not _is_ours(self.files.names()):
            raise OneBasinError(
                f"{self.files.root}: is not empty and holds no studies; choose another --out"
            )
        if stored_scale not in (None, scale):
            raise OneBasinError(
                f"{self.files.root}: holds studies of scale {stored_scale!r}, not {scale!r}; "
                "choose another --out"
            )
        for name, study in studies.items():
            self.check_config(name, study.config_json(scale))
        self._write(MARK, {"format": FORMAT, "scale": scale})
        for name, study in studies.items():
            tasks = [{"key": key, "task": str(plan.tasks[key])} for key in plan.keys_of(name)]
            data = {"study": name, "scale": scale, "config": study.config_json(scale)}
            self._write(_manifest(name), {**data, "tasks": tasks})

    def check_config(self, name: str, config: Mapping[str, Any]) -> None:
        """Check that a stored study has this configuration.

        Raises:
            OneBasinError: if they differ; the message names the first setting.
        """
        manifest = self.manifest(name)
        plain = json.loads(json.dumps(config))
        if manifest is None or manifest["config"] == plain:
            return
        key, there, here = _difference(manifest["config"], plain)
        raise OneBasinError(
            f"{self.files.root}: holds study {name!r} of another configuration: {key} is "
            f"{there!r} there and {here!r} here; choose another --out"
        )

    def studies(self) -> list[str]:
        """Return the names of the studies, sorted.

        Raises:
            OneBasinError: if the folder has no studies.
        """
        names = self.names() if self.scale is not None else []
        if not names:
            raise OneBasinError(
                f"{self.files.root}: holds no studies; give the --out of a `study run`"
            )
        return names

    def names(self) -> list[str]:
        """Return the names of the studies, sorted; may be empty."""
        files = [name for name in self.files.names("studies") if name.endswith(".json")]
        return [name.removeprefix("studies/").removesuffix(".json") for name in files]

    def manifest(self, name: str) -> Mapping[str, Any] | None:
        """Return "scale", "config" and "tasks" of a study, or None.

        Raises:
            OneBasinError: if the file is corrupt.
        """
        manifest = self._json(_manifest(name))
        if manifest is not None and not _is_manifest(manifest):
            raise self._corrupt(_manifest(name))
        return manifest

    def write_heartbeat(self, progress: Progress, state: str = "running") -> None:
        """Write a heartbeat, which `study status` reads."""
        sign = {"state": state, "host": socket.gethostname(), "pid": os.getpid()}
        self._write(HEARTBEAT, {**sign, "time": time.time(), "progress": progress.to_json()})

    def heartbeat(self) -> Heartbeat | None:
        """Return the last heartbeat, or None."""
        data = self._json(HEARTBEAT)
        if data is None:
            return None
        try:
            progress = Progress.from_json(data["progress"])
            sign = str(data["state"]), str(data["host"]), int(data["pid"]), float(data["time"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._corrupt(HEARTBEAT) from error
        return Heartbeat(*sign, progress)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other runs; the lock ends with the process.

        Local folders use a file lock. URLs and runs on other machines use heartbeats, which do not
        exclude two runs that start at the same moment.

        Raises:
            OneBasinError: if another run uses the folder.
        """
        folder = self.files.folder
        is_locked = folder is not None and os.name == "posix"
        self._check_silence(is_locked)
        if not is_locked:
            yield
            return
        assert folder is not None
        import fcntl

        self._make(folder)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise self._taken() from error
            self.files.sweep()
            yield
        finally:
            os.close(descriptor)

    def _check_silence(self, is_locked: bool) -> None:
        """Check that no other run (under a file lock: on another machine) sends heartbeats."""
        try:
            heartbeat = self.heartbeat()
        except OneBasinError:
            return
        if heartbeat is None or not heartbeat.is_fresh() or heartbeat.current_state() != "running":
            return
        if not is_locked or heartbeat.host != socket.gethostname():
            raise self._taken(f" (on {heartbeat.host}, process {heartbeat.pid})")

    def _taken(self, where: str = "") -> OneBasinError:
        return OneBasinError(
            f"{self.files.root}: another run uses this folder{where}; wait for it, or choose "
            "another --out"
        )

    def _make(self, folder: os.PathLike[str]) -> None:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise OneBasinError(
                f"{self.files.root}: the folder cannot be created ({error.strerror}); choose "
                "another --out"
            ) from error

    def _json(self, name: str) -> dict[str, Any] | None:
        data = self.files.read(name)
        if data is None:
            return None
        try:
            content = json.loads(data)
        except ValueError as error:
            raise self._corrupt(name) from error
        if not isinstance(content, dict):
            raise self._corrupt(name)
        return content

    def _scale_of(self, name: str) -> str | None:
        try:
            manifest = self.manifest(name)
        except OneBasinError:
            return None
        return None if manifest is None else manifest["scale"]

    def _corrupt(self, name: str) -> OneBasinError:
        return OneBasinError(
            f"{self.files.shown(name)}: is corrupt; delete it and run again (results are kept)"
        )

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        self.files.write(name, (json.dumps(data, indent=1) + "\n").encode())


@dataclass(frozen=True)
class Heartbeat:
    """The last heartbeat of a run.

    Args:
        state: "running", "finished" or "stopped", as reported by the run.
        host: host name of the run.
        pid: its process id.
        time: time of the heartbeat in seconds since 1970.
        progress: its progress.
    """

    state: str
    host: str
    pid: int
    time: float
    progress: Progress

    def current_state(self) -> str:
        """Return the state; "running" becomes "stopped" if the process has ended."""
        if self.state != "running":
            return self.state
        if self.host == socket.gethostname():
            return "running" if _is_alive(self.pid) else "stopped"
        return "running" if self.is_fresh() else "stopped"

    def is_fresh(self) -> bool:
        """Return whether the heartbeat is recent."""
        return time.time() - self.time < SILENCE


def _manifest(name: str) -> str:
    return f"studies/{name}.json"


def _is_manifest(data: Mapping[str, Any]) -> bool:
    tasks = data.get("tasks")
    return (
        isinstance(data.get("scale"), str)
        and isinstance(data.get("config"), dict)
        and isinstance(tasks, list)
        and all(isinstance(task, dict) and isinstance(task.get("key"), str) for task in tasks)
    )


def _is_ours(names: Sequence[str]) -> bool:
    """Return whether all files belong to a study folder."""
    return all(map(OWN_FILES.fullmatch, names)) and (
        not names or any(name.startswith("results/") for name in names)
    )


def _difference(there: Any, here: Any, path: str = "") -> tuple[str, Any, Any]:
    """Return the path and the two values of the first difference between JSON values."""
    if isinstance(there, dict) and isinstance(here, dict):
        names = [*here, *(name for name in there if name not in here)]
        name = next(name for name in names if there.get(name) != here.get(name))
        return _difference(there.get(name), here.get(name), f"{path}.{name}" if path else name)
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        number = next(i for i, (a, b) in enumerate(zip(there, here, strict=True)) if a != b)
        if isinstance(here[number], dict | list):
            return _difference(there[number], here[number], f"{path}[{number}]")
    return path, there, here


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
