"""The Ray engine: calls on a Ray cluster, or on one that is started on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from onebasin.errors import OneBasinError
from onebasin.studies.engines.call import Call, Report, carry_out
from onebasin.studies.engines.local import num_cores

ENVIRONMENT = {
    # Nobody asked for reports on how Ray is used to be sent.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

PATIENCE = 5.0
"""Seconds within which a cluster must answer."""


class RayEngine:
    """Carries out calls on a Ray cluster.

    Every call asks for the cores of its function, and for its share of a GPU where the
    cluster has any. Results go to the store, which all nodes must reach.

    Args:
        address: `HOST:PORT` or "auto"; without one Ray is started here, and ended with the
            engine.
        jobs: how many one-core calls run at a time; by default one per core of the cluster.

    Raises:
        OneBasinError: when Ray is missing or the cluster cannot be reached.
    """

    is_here = False

    def __init__(self, address: str | None = None, *, jobs: int | None = None) -> None:
        if jobs is not None and jobs < 1:
            raise OneBasinError(f"--jobs is {jobs}; it must be at least 1")
        self.ray = _import_ray()
        self.address, self.jobs = address, jobs
        self.slots = self.threads = jobs or num_cores()
        self._has_gpus = False
        self._calls: dict[Any, Call] = {}

    def __enter__(self) -> RayEngine:
        _connect(self.ray, self.address, self.jobs)
        held = self.ray.cluster_resources()
        self.threads = max(1, int(held.get("CPU", 1)))
        self.slots = min(self.jobs or self.threads, self.threads)
        self._has_gpus = held.get("GPU", 0) > 0
        # No retries by Ray itself: the schedule counts them, and tries kin one by one.
        self._run = self.ray.remote(max_retries=0)(carry_out)
        return self

    def __exit__(self, *exception: object) -> None:
        for reference in self._calls:
            with contextlib.suppress(Exception):
                self.ray.cancel(reference, force=True)
        self._calls.clear()
        self.ray.shutdown()

    def submit(self, call: Call) -> None:
        """Hand a call to Ray."""
        needs = call.tasks[0].declaration
        cpus, gpus = min(needs.cpus, self.slots), needs.gpus if self._has_gpus else 0
        self._calls[self._run.options(num_cpus=cpus, num_gpus=gpus).remote(call)] = call

    def wait(self, seconds: float) -> Sequence[tuple[Call, Report]]:
        """Return the calls that have ended, waiting for the first of them."""
        if not self._calls:
            return []
        first, _ = self.ray.wait(list(self._calls), timeout=seconds)
        others = [reference for reference in self._calls if reference not in first]
        ended, _ = self.ray.wait(others, num_returns=len(others), timeout=0) if others else ([], [])
        return [(self._calls.pop(ref), self._report(ref)) for ref in (*first, *ended)]

    def _report(self, reference: Any) -> Report:
        """Return what a call said of itself, or that its worker did not live to say it."""
        try:
            return self.ray.get(reference)
        # Whatever Ray raises here is about the worker: calls never raise.
        except Exception as error:
            return Report("lost", reason=f"its Ray worker was lost ({_first_line(error)})")


def _import_ray() -> Any:
    try:
        with _environment(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise OneBasinError(
            "--engine ray needs Ray; install it with pip install 'onebasin[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: str | None, jobs: int | None) -> None:
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address is None:
        # An address in the environment is not meant: without --address Ray starts here.
        options |= {"address": "local", "num_cpus": jobs or num_cores()}
        options |= {"include_dashboard": False}
    else:
        _check_address(address)
        options |= {"address": address}
    try:
        with _environment(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**options)
    # Ray has no common class for all that can go wrong when it connects.
    except Exception as error:
        raise _unreachable(address or "local", _first_line(error)) from error


def _check_address(address: str) -> None:
    """Refuse an address where nothing listens at once; Ray itself would try for minutes."""
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


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Let Ray and the processes it starts see some settings, and restore the environment."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update({name: v for name, v in ENVIRONMENT.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
