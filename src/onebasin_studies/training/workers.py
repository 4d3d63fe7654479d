"""Worker threads, each of which trains groups of networks.

PyTorch releases the GIL while it computes, so a few threads use as many cores. Callbacks run in the
caller's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import torch

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
