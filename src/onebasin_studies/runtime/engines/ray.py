"""The Ray engine: calls on a Ray cluster, either an existing one or one started locally."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.engines.call import Call, Report, execute
from onebasin_studies.runtime.engines.local import num_cores

ENVIRONMENT = {
    # Disables telemetry.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

CONNECTING = {
    # Without these Ray retries for minutes if a port is open but no cluster answers.
    "RAY_py_gcs_connect_timeout_s": "5",
    "RAY_NUM_REDIS_GET_RETRIES": "2",
}
TOKENS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")

PATIENCE = 5.0
"""Timeout of a connection to the cluster in seconds."""

SILENCE = 15.0
"""Seconds without an answer after which a cluster counts as lost; Ray itself ends the process after
60.
"""


class LostClusterError(OneBasinError):
    """Raised when the cluster no longer answers."""


class RayEngine:
    """Runs calls on a Ray cluster.

    Every call requests the cores of its function, and its fraction of a GPU if the cluster has
    GPUs. Results go to the store, which all nodes must reach.

    Args:
        address: `HOST:PORT` or "auto"; default: start Ray on this machine and stop it at the end.
        jobs: maximum number of parallel one-core calls; default: one per core of the cluster.

    Raises:
        OneBasinError: if Ray is not installed or the cluster cannot be reached.
    """

    is_here = False

    def __init__(self, address: str | None = None, *, jobs: int | None = None) -> None:
        if jobs is not None and jobs < 1:
            raise OneBasinError(f"--jobs is {jobs}; it must be at least 1")
        self.ray = _import_ray({} if address is None else CONNECTING)
        self.address, self.jobs = address, jobs
        self._scratch = contextlib.ExitStack()
        self._head: tuple[str, int] | None = None
        self._heard = self._asked = 0.0
        self.slots = self.threads = jobs or num_cores()
        self._has_gpus = False
        self._calls: dict[Any, Call] = {}

    def __enter__(self) -> RayEngine:
        environment = _own_token(self._scratch) if self.address is None else CONNECTING
        with self._scratch.pop_all() as scratch:
            _connect(self.ray, self.address, self.jobs, environment)
            self._scratch = scratch.pop_all()
        self._head = _head_of(self.ray)
        self._heard = self._asked = time.monotonic()
        resources = self.ray.cluster_resources()
        self.threads = max(1, int(resources.get("CPU", 1)))
        self.slots = min(self.jobs or self.threads, self.threads)
        self._has_gpus = resources.get("GPU", 0) > 0
        # The schedule counts retries and runs the tasks of a lost call one by one.
        self._run = self.ray.remote(max_retries=0)(execute)
        return self

    def __exit__(self, *exception: object) -> None:
        is_lost = isinstance(exception[1], LostClusterError)
        for reference in [] if is_lost else self._calls:
            with contextlib.suppress(Exception):
                self.ray.cancel(reference, force=True)
        self._calls.clear()
        with _captured() if is_lost else contextlib.nullcontext():
            self.ray.shutdown()
        self._scratch.close()

    def submit(self, call: Call) -> None:
        """Submit a call to Ray."""
        needs = call.tasks[0].declaration
        cpus, gpus = min(needs.cpus, self.slots), needs.gpus if self._has_gpus else 0
        self._calls[self._run.options(num_cpus=cpus, num_gpus=gpus).remote(call)] = call

    def wait(self, seconds: float) -> Sequence[tuple[Call, Report]]:
        """Return the calls that have ended; wait for the first one."""
        if not self._calls:
            return []
        self._check_head()
        first, _ = self.ray.wait(list(self._calls), timeout=seconds)
        others = [reference for reference in self._calls if reference not in first]
        ended, _ = self.ray.wait(others, num_returns=len(others), timeout=0) if others else ([], [])
        return [(self._calls.pop(ref), self._report(ref)) for ref in (*first, *ended)]

    def _check_head(self) -> None:
        """Check periodically that the cluster still answers.

        Raises:
            LostClusterError: if the cluster has not answered for `SILENCE` seconds.
        """
        if self._head is None or time.monotonic() - self._asked < 2.0:
            return
        self._asked = time.monotonic()
        try:
            socket.create_connection(self._head, PATIENCE).close()
            self._heard = time.monotonic()
        except OSError as error:
            if time.monotonic() - self._heard > SILENCE:
                place, reason = ":".join(map(str, self._head)), error.strerror or error
                raise LostClusterError(
                    f"the Ray cluster at {place} is lost ({reason}); finished results are kept: "
                    "run again when it is back"
                ) from error

    def _report(self, reference: Any) -> Report:
        """Return the report of a call; "lost" if its worker died."""
        try:
            return self.ray.get(reference)
        # `execute` never raises, so any exception comes from Ray.
        except Exception as error:
            return Report("lost", reason=f"its Ray worker was lost ({_first_line(error)})")


def _import_ray(environment: Mapping[str, str]) -> Any:
    try:
        with _environment(environment), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        # Imported only now: this module takes seconds to load, because it imports torch.
        from onebasin._packages import install_command

        raise OneBasinError(
            f"--engine ray needs Ray; install the extra 'ray': {install_command('ray')}"
        ) from error
    return ray


def _connect(
    ray: Any, address: str | None, jobs: int | None, environment: Mapping[str, str]
) -> None:
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        # "local" overrides an address in the environment.
        options |= {"address": "local", "num_cpus": jobs or num_cores()}
        options |= {"include_dashboard": False}
    else:
        _check_address(address)
        options |= {"address": address}
    said = []
    try:
        with _environment(environment), warnings.catch_warnings(), _captured(said.append):
            warnings.simplefilter("ignore")
            ray.init(**options)
    # Ray has no common base class for connection errors.
    except Exception as error:
        reason = _first_line(error)
        if any("InvalidAuthToken" in text for text in said):
            raise OneBasinError(
                f"--address {address}: the Ray cluster refuses the token of this machine; put its "
                "token into RAY_AUTH_TOKEN, or name the file with it in RAY_AUTH_TOKEN_PATH "
                "(without these it is that of ~/.ray/auth_token)"
            ) from error
        if address is None:
            raise OneBasinError(
                f"--engine ray: Ray cannot be started on this machine ({reason}); name a cluster "
                "with --address, or use --engine local"
            ) from error
        raise _unreachable(address, reason) from error


def _check_address(address: str) -> None:
    """Raise an error at once if nothing listens at an address; Ray would retry for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise OneBasinError(f"--address {address}: expected HOST:PORT, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, reason: str) -> OneBasinError:
    return OneBasinError(
        f"--address {address}: no Ray cluster can be reached ({reason}); check the address, or "
        "start one with ray start --head"
    )


def _head_of(ray: Any) -> tuple[str, int] | None:
    """Return the address of the head node, or None if unknown."""
    try:
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        return host.strip("[]"), int(port)
    # Not available in a client, with an address `ray://`.
    except Exception:
        return None


def _own_token(scratch: contextlib.ExitStack) -> dict[str, str]:
    """Return settings with a temporary token; Ray would store its own in the home folder."""
    if any(os.environ.get(name) for name in TOKENS):
        return {}
    path = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix="onebasin-")), "token")
    path.touch(0o600)
    path.write_text(_token())
    return {"RAY_AUTH_TOKEN_PATH": str(path)}


@cache
def _token() -> str:
    """Return the token of all clusters of this process; Ray reads it only once."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _captured(report: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Redirect the process's stderr and pass it to a callback at the end."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            report(file.read().decode(errors="replace"))


@contextlib.contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for Ray and its processes, and restore them afterwards."""
    settings = {**ENVIRONMENT, **more}
    # Ray also sets these variables and must not find them the next time.
    before = {name: os.environ.get(name) for name in (*settings, *TOKENS)}
    os.environ.update({name: v for name, v in settings.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
