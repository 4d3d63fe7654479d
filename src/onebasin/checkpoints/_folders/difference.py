"""A difference between the files of two folders, and its effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from onebasin.checkpoints._sources.transformers_config import read_object

_WIDTH = 60


class Effect(Enum):
    """The effect of a difference on the merged network.

    `FUNCTION`: equal weights compute different outputs, or outputs have another meaning.
    `USE`: only training, generation or the surrounding code differs.
    `NONE`: nothing differs.
    """

    FUNCTION = "function"
    USE = "use"
    NONE = "none"


@dataclass(frozen=True)
class Difference:
    """One field that differs between two folders.

    Args:
        file: name of the file in both folders.
        field: name of the field, such as `hidden_act` or `text_config.num_attention_heads`.
        a: value in the first folder; None if it is missing.
        b: value in the second folder.
        effect: effect on the merged network.
    """

    file: str
    field: str
    a: Any
    b: Any
    effect: Effect

    def to_text(self, folder_a: Path, folder_b: Path) -> str:
        """Return the difference on one line, with both files and values."""
        file_a, file_b = folder_a / self.file, folder_b / self.file
        a, b = _shortened(repr(self.a), repr(self.b))
        return f"{self.field} is {a} in {file_a} but {b} in {file_b}"


def read_mapping(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the content of a JSON file in a folder, or None if it is missing.

    Raises:
        OneBasinError: it is not a JSON object.
    """
    path = folder / name
    return read_object(path) if path.is_file() else None


def flatten(content: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping with dotted names.

    Example:
        >>> flatten({"a": 1, "rope": {"theta": 2}})
        {'a': 1, 'rope.theta': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shortened(a: str, b: str) -> tuple[str, str]:
    """Return the part of two different texts in which they differ."""
    pairs = enumerate(zip(a, b, strict=False))
    start = next((index for index, (x, y) in pairs if x != y), min(len(a), len(b)))
    start = 0 if start < _WIDTH - 6 else start - _WIDTH // 4
    return _short(a, start), _short(b, start)


def _short(text: str, start: int) -> str:
    text = f"...{text[start:]}" if start else text
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
