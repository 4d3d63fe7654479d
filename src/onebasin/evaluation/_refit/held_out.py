"""Held-out batches, which choose between candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

HELD_OUT = 5
"""One of this many batches is held out."""


@dataclass(frozen=True)
class Share:
    """The batches that are held out, or the others.

    Args:
        data: all batches.
        is_held_out: whether these are the held-out ones.
    """

    data: Iterable[Any]
    is_held_out: bool

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches."""
        for number, batch in enumerate(self.data, start=1):
            if (number % HELD_OUT == 0) == self.is_held_out:
                yield batch
