"""Merged networks that keep one last layer for each of their sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from onebasin.errors import ArgumentError, check_choice

HeadsName = Literal["shared", "own"]


def check_heads(heads: Any, *, data: Any, repair: str, size: Any) -> bool:
    """Check the argument `heads`, and return whether every network keeps its own last layer.

    Raises:
        OneBasinError: the value is unknown, or it does not go together with other arguments.
    """
    check_choice("heads", heads, HeadsName)
    if heads == "shared":
        return False
    if data is None:
        raise ArgumentError("heads='own' fits last layers on data; pass data=")
    if repair not in ("auto", "refit"):
        raise ArgumentError(
            f"heads='own' refits all layers (got repair={repair!r}); remove repair="
        )
    if size != 1:
        raise ArgumentError(f"heads='own' needs size=1 (got size={size!r}); remove one of them")
    return True


def head_files(output: Any, num_heads: int) -> list[Path]:
    """Return the files of the networks with the last layers of all sources but the first.

    Args:
        output: the file or folder of the merged network, or None.
        num_heads: number of last layers; 0 if they are shared.

    Example:
        >>> [path.name for path in head_files("merged.safetensors", 2)]
        ['merged-head-2.safetensors']
    """
    if output is None:
        return []
    path = Path(output)
    return [
        path.with_name(f"{path.stem}-head-{number}{path.suffix}")
        for number in range(2, num_heads + 1)
    ]
