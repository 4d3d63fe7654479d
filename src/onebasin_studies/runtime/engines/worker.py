"""A worker of the local engine: reads calls from stdin and writes reports to stdout."""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import traceback
from typing import BinaryIO

from onebasin_studies.runtime.engines.call import Call, execute


def work() -> None:
    """Run calls until stdin closes, which happens when the engine's process ends."""
    reports = os.fdopen(os.dup(1), "wb")
    # Output of tasks must not mix with reports.
    os.dup2(2, 1)
    calls: queue.Queue[Call] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, calls), daemon=True).start()
    while True:
        pickle.dump(execute(calls.get()), reports)
        reports.flush()


def _listen(source: BinaryIO, calls: queue.Queue[Call]) -> None:
    """Queue calls from stdin; at the end of stdin, end this process even during a call."""
    while True:
        try:
            calls.put(pickle.load(source))
        except EOFError:
            os._exit(0)
        except Exception:
            # Otherwise the process would wait forever without this thread.
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
