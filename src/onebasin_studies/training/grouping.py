"""Division of networks into groups, and the worker threads that train the groups.

PyTorch releases the GIL while it computes, so a few threads use as many cores. Callbacks run in the
caller's thread.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import torch

from onebasin_studies.training.setup import TrainingSetup

# Measured on one core: 1e11 operations per second, half a nanosecond per parameter for the
# optimizer, and two milliseconds of Python per step of a group under vmap.
SPEED = 1e11
SECONDS_PER_PARAMETER = 5e-10
SECONDS_PER_NETWORK = 1e-5
OVERHEAD = {"vmap": 2e-3, "loop": 0.0}
SHARE_OF_OVERHEAD = 0.1
MOST = 32
LARGE_STEP = 5e-3


@dataclass(frozen=True)
class Grouping:
    """The division of a training among threads.

    Args:
        groups: seeds of each group.
        num_workers: number of groups trained in parallel.
        num_threads: number of threads of each group.
    """

    groups: tuple[tuple[int, ...], ...]
    num_workers: int
    num_threads: int


def group_seeds(
    seeds: Sequence[int], setup: TrainingSetup, *, num_threads: int, group_size: int | None = None
) -> Grouping:
    """Divide seeds into groups.

    A group is as small as possible while the overhead of Python stays negligible, because smaller
    groups stay in the processor's caches. On a CPU each thread trains its own group, which avoids
    synchronization.

    Args:
        seeds: seeds of all networks.
        setup: the training setup.
        num_threads: number of available threads.
        group_size: maximum size of a group; chosen automatically if None.
    """
    if setup.device.type != "cpu":
        size = group_size or MOST
        return Grouping(_cut(seeds, math.ceil(len(seeds) / size)), 1, num_threads)
    num_parameters = sum(param.numel() for param in setup.network.parameters())
    seconds = 6 * num_parameters * setup.recipe.batch_size / SPEED + SECONDS_PER_NETWORK
    seconds += num_parameters * SECONDS_PER_PARAMETER
    size = math.ceil(OVERHEAD[setup.backend.engine] / (SHARE_OF_OVERHEAD * seconds))
    size = group_size or min(MOST, max(1, size))
    num_workers = min(num_threads, len(seeds))
    number = max(math.ceil(len(seeds) / size), num_workers)
    number = min(len(seeds), math.ceil(number / num_workers) * num_workers)
    is_large = seconds >= LARGE_STEP
    return Grouping(_cut(seeds, number), num_workers, num_threads // num_workers if is_large else 1)


def _cut(seeds: Sequence[int], number: int) -> tuple[tuple[int, ...], ...]:
    """Divide seeds into this many groups of nearly equal size."""
    least, more = divmod(len(seeds), number)
    groups, start = [], 0
    for place in range(number):
        stop = start + least + (place < more)
        groups.append(tuple(seeds[start:stop]))
        start = stop
    return tuple(groups)


Report = Callable[[Any], None]
Check = Callable[[], None]
Work = Callable[[Report, Check], None]


class Stopped(Exception):
    """Raised by `check` in a worker when the other workers must stop."""


def run_workers(
    works: Sequence[Work], handle: Report, *, num_workers: int, num_threads: int
) -> None:
    """Run functions in parallel and return when all have finished.

    If one fails, or the caller is interrupted, the others stop at their next `check`.

    Args:
        works: functions of a callback for messages and a callback to call often.
        handle: a callback in this thread for the messages, in order.
        num_workers: number of functions that run in parallel.
        num_threads: number of PyTorch threads in each of them.
    """
    events: SimpleQueue[Any] = SimpleQueue()
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    with _threads(num_threads), ThreadPoolExecutor(num_workers) as pool:
        futures = [pool.submit(work, events.put, check) for work in works]
        for future in futures:
            future.add_done_callback(events.put)
        try:
            _handle(events, len(futures), handle)
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            raise


def _handle(events: SimpleQueue[Any], remaining: int, handle: Report) -> None:
    while remaining:
        event = events.get()
        if isinstance(event, Future):
            event.result()
            remaining -= 1
        else:
            handle(event)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Set the number of PyTorch threads of each Python thread that starts in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
