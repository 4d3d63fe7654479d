"""Folders of studies: which studies at which scale a folder holds, and who is at work there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onebasin.errors import OneBasinError
from onebasin.studies.plan import Plan
from onebasin.studies.progress import Progress
from onebasin.studies.store import Store
from onebasin.studies.study import Study

MARK = "studies.json"
HEARTBEAT = "progress.json"
FORMAT = 1
SILENCE = 60.0
"""Seconds without a sign after which a run elsewhere counts as ended."""


class StudyFolder:
    """The folder or URL that `study run --out` names.

    Args:
        root: the folder or fsspec URL.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.store = Store(root)
        self.files = self.store.files

    @property
    def scale(self) -> str | None:
        """The scale of all studies in the folder, or None where there is none yet.

        Raises:
            OneBasinError: when the folder is another version's.
        """
        mark = self._json(MARK)
        if mark is None:
            return None
        if mark.get("format") != FORMAT:
            raise OneBasinError(
                f"{self.files.root}: its studies have format {mark.get('format')}, but this "
                f"version of onebasin writes {FORMAT}; choose another --out"
            )
        return str(mark["scale"])

    def claim(self, studies: Mapping[str, Study], scale: str, plan: Plan) -> None:
        """Make the folder one of these studies at this scale.

        Raises:
            OneBasinError: when it holds something else: other files, another scale, or one of
                the studies with another configuration.
        """
        held = self.scale
        if held is None and self.files.names():
            raise OneBasinError(
                f"{self.files.root}: is not empty and holds no studies; choose another --out"
            )
        if held not in (None, scale):
            raise OneBasinError(
                f"{self.files.root}: holds studies of scale {held!r}, not {scale!r}; choose "
                "another --out"
            )
        for name, study in studies.items():
            self.check_config(name, study.config_json(scale))
        self._write(MARK, {"format": FORMAT, "scale": scale})
        for name, study in studies.items():
            tasks = [{"key": key, "task": str(plan.tasks[key])} for key in plan.keys_of(name)]
            data = {"study": name, "scale": scale, "config": study.config_json(scale)}
            self._write(_manifest(name), {**data, "tasks": tasks})

    def check_config(self, name: str, config: Mapping[str, Any]) -> None:
        """Check that the folder does not hold a study with another configuration.

        Raises:
            OneBasinError: naming the first setting that differs.
        """
        held = self._json(_manifest(name))
        plain = json.loads(json.dumps(config))
        if held is None or held["config"] == plain:
            return
        key, there, here = _difference(held["config"], plain)
        raise OneBasinError(
            f"{self.files.root}: holds study {name!r} of another configuration: {key} is "
            f"{there!r} there and {here!r} here; choose another --out"
        )

    def studies(self) -> dict[str, Mapping[str, Any]]:
        """Return by name what was asked of each study: "scale", "config" and "tasks".

        Raises:
            OneBasinError: when the folder holds no studies.
        """
        if self.scale is None:
            raise OneBasinError(
                f"{self.files.root}: holds no studies; give the --out of a `study run`"
            )
        names = [name for name in self.files.names("studies") if name.endswith(".json")]
        found = (self._json(name) for name in names)
        return {str(data["study"]): data for data in found if data is not None}

    def beat(self, progress: Progress, state: str = "running") -> None:
        """Leave a sign of life, for `study status` to read from elsewhere."""
        sign = {"state": state, "host": socket.gethostname(), "pid": os.getpid()}
        self._write(HEARTBEAT, {**sign, "time": time.time(), "progress": progress.to_json()})

    def heartbeat(self) -> Heartbeat | None:
        """Return the last sign of life of a run, or None where there was none."""
        data = self._json(HEARTBEAT)
        if data is None:
            return None
        progress = Progress.from_json(data["progress"])
        return Heartbeat(data["state"], data["host"], data["pid"], data["time"], progress)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of a folder of this machine; a killed run leaves no lock.

        Raises:
            OneBasinError: when another run is at work there.
        """
        folder = self.files.folder
        if folder is None or os.name != "posix":
            yield
            return
        import fcntl

        self._make(folder)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OneBasinError(
                    f"{self.files.root}: another run is at work there; wait for it, or choose "
                    "another --out"
                ) from error
            self.files.sweep()
            yield
        finally:
            os.close(descriptor)

    def _make(self, folder: os.PathLike[str]) -> None:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise OneBasinError(
                f"{self.files.root}: cannot be made into a folder ({error.strerror}); choose "
                "another --out"
            ) from error

    def _json(self, name: str) -> dict[str, Any] | None:
        data = self.files.read(name)
        if data is None:
            return None
        try:
            found = json.loads(data)
            assert isinstance(found, dict)
        except (ValueError, AssertionError) as error:
            raise OneBasinError(
                f"{self.files.shown(name)}: is corrupt; remove it and run again: results stay"
            ) from error
        return found

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        self.files.write(name, (json.dumps(data, indent=1) + "\n").encode())


@dataclass(frozen=True)
class Heartbeat:
    """The last sign of life of a run.

    Args:
        state: "running", "finished" or "stopped", as the run said itself.
        host: the machine it runs on.
        pid: of its process.
        time: when, in seconds since 1970.
        progress: how far it was.
    """

    state: str
    host: str
    pid: int
    time: float
    progress: Progress

    def current_state(self) -> str:
        """Return the state, where "running" means that the run still lives, else "stopped"."""
        if self.state != "running":
            return self.state
        if self.host == socket.gethostname():
            return "running" if _is_alive(self.pid) else "stopped"
        return "running" if time.time() - self.time < SILENCE else "stopped"


def _manifest(name: str) -> str:
    return f"studies/{name}.json"


def _difference(there: Any, here: Any, path: str = "") -> tuple[str, Any, Any]:
    """Return where two JSON values that are not equal differ first, and the values there."""
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
