"""Recursion depth for models whose modules are nested deeply."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from onebasin.errors import OneBasinError

FRAMES = 25
"""Python frames for each level of modules, when a model is copied or exported."""

DEEPEST = 500
"""More levels could overflow the stack of the process."""


@contextmanager
def recursion_for(model: nn.Module, call: str) -> Iterator[None]:
    """Raise the recursion limit by what the nesting of a model needs.

    Args:
        model: the model.
        call: the public function that is running, for the message.

    Raises:
        OneBasinError: when its modules are nested more than `DEEPEST` levels deep.
    """
    limit = sys.getrecursionlimit()
    try:
        depth = max(name.count(".") for name, _ in model.named_modules())
    except RecursionError:
        depth = limit
    if depth > DEEPEST:
        raise OneBasinError(
            f"{call}: modules of {type(model).__name__} are nested more than {DEEPEST} levels deep;"
            " nest them less"
        )
    try:
        sys.setrecursionlimit(limit + FRAMES * depth)
        yield
    finally:
        sys.setrecursionlimit(limit)
