"""A worker of the local engine: calls come in on stdin, reports go out on stdout."""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
from typing import BinaryIO

from onebasin_studies.runtime.engines.call import Call, carry_out


def work() -> None:
    """Carry out calls until stdin ends, which it does when the engine's process does."""
    reports = os.fdopen(os.dup(1), "wb")
    # What tasks print must not mix with reports.
    os.dup2(2, 1)
    calls: queue.Queue[Call] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, calls), daemon=True).start()
    while True:
        pickle.dump(carry_out(calls.get()), reports)
        reports.flush()


def _listen(source: BinaryIO, calls: queue.Queue[Call]) -> None:
    """Take in calls; with the end of stdin this process ends too, in the middle of a call."""
    while True:
        try:
            calls.put(pickle.load(source))
        except EOFError:
            os._exit(0)
        except Exception:
            # Nobody else would notice that this thread has ended.
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
