"""Offline mode of the Hugging Face libraries."""

import contextlib
import importlib
import threading
from collections.abc import Iterator
from typing import Any

# The mode is global to the process, so blocks of several threads run one after the other.
_LOCK = threading.RLock()


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Set the offline mode of huggingface_hub for the time of a block.

    Every request of the hub then raises before it reaches the network. The mode is restored
    at the end. Without huggingface_hub nothing happens.
    """
    try:
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ImportError:
        yield
        return
    with _LOCK:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def needs_network(error: BaseException) -> bool:
    """Return whether an exception or its cause is a request blocked by `offline`."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if type(current).__name__ == "OfflineModeIsEnabled":
            return True
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return False
