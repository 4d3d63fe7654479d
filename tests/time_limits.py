"""A limit for tests of input that could block or never end."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Fail if the block takes longer, also if the block hides the exception that stops it."""
    message = f"it took longer than {seconds} s"
    expired = False

    def stop(number: int, frame: object) -> None:
        nonlocal expired
        expired = True
        raise TimeoutError(message)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        if expired:
            raise AssertionError(message)
