"""Workers: groups of networks trained by threads, each of which computes by itself.

PyTorch lets go of Python's lock while it computes, so that a few threads keep as many cores
busy. What the caller is told, it is told in its own thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import torch

Tell = Callable[[Any], None]
Check = Callable[[], None]
Work = Callable[[Tell, Check], None]


class Stopped(Exception):
    """Raised in a worker by its `check` when the others are not to go on."""


def run_workers(works: Sequence[Work], handle: Tell, *, num_workers: int, num_threads: int) -> None:
    """Do works side by side, and return when all are done.

    When one fails, or the caller is interrupted, the others stop at their next `check`.

    Args:
        works: each gets a function to tell the caller something, and one to call often.
        handle: called in this thread with what works tell, in order.
        num_workers: how many work at a time.
        num_threads: of PyTorch in each of them.
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


def _handle(events: SimpleQueue[Any], remaining: int, handle: Tell) -> None:
    while remaining:
        event = events.get()
        if isinstance(event, Future):
            event.result()
            remaining -= 1
        else:
            handle(event)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Give PyTorch this many threads in each thread of Python that starts in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
