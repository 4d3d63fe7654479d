"""Recursion depth for models whose modules are nested deeply."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from onebasin.errors import OneBasinError

FRAMES = 25
"""Python frames per level of modules when a model is copied or exported."""

MAX_DEPTH = 500
"""Deeper models could overflow the stack of the process."""


@contextmanager
def raised_recursion_limit(model: nn.Module, call: str) -> Iterator[None]:
    """Raise the recursion limit according to the nesting of a model's modules.

    Args:
        model: the model.
        call: name of the public function, for the message.

    Raises:
        OneBasinError: when modules are nested more than `MAX_DEPTH` levels deep.
    """
    limit = sys.getrecursionlimit()
    try:
        depth = max(name.count(".") for name, _ in model.named_modules())
    except RecursionError:
        depth = limit
    if depth > MAX_DEPTH:
        raise OneBasinError(
            f"{call}: modules of {type(model).__name__} are nested too deeply (got {depth} levels,"
            f" limit {MAX_DEPTH}); flatten the model"
        )
    try:
        sys.setrecursionlimit(limit + FRAMES * depth)
        yield
    finally:
        sys.setrecursionlimit(limit)
