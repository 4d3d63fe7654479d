"""Configurations of studies as words, for templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def is_flat(value: Any) -> bool:
    """Return whether a value is a scalar or a flat collection of scalars."""
    inner = value.values() if isinstance(value, Mapping) else value
    return _is_scalar(value) or all(map(_is_scalar, inner))


def entries(value: Any) -> Iterable[tuple[str, Any]]:
    """Return the items of a mapping, or the elements of a list with empty names."""
    if isinstance(value, Mapping):
        return [(str(name), item) for name, item in value.items()]
    return [("", item) for item in value]


def to_words(value: Any) -> str:
    """Return a flat value as text.

    Example:
        >>> to_words({"widths": [4, 8], "augment": None, "flip": True})
        'widths 4, 8, augment none, flip yes'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {to_words(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(to_words, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, Mapping | list | tuple)
