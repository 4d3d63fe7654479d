"""The architecture that a safetensors file records in its header.

Training writes the record and later commands read it, so that ARCH can be omitted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from onebasin.errors import OneBasinError

METADATA_KEY = "onebasin.architecture"
_MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class RecordedArchitecture:
    """What `build_architecture` needs to build the module of a checkpoint.

    Args:
        spec: architecture name, such as `mlp` or `torchvision:resnet50`.
        arguments: keyword arguments of the builder, plain JSON values.
        inputs: example inputs, such as `2x3x32x32`; empty for the defaults of the source.
    """

    spec: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[str] = ()

    def to_metadata(self) -> dict[str, str]:
        """Return the record as metadata of a safetensors file.

        Examples:
            >>> RecordedArchitecture("mlp", {"width": 8}).to_metadata()
            {'onebasin.architecture': '{"spec": "mlp", "arguments": {"width": 8}, "inputs": []}'}
        """
        content = {
            "spec": self.spec,
            "arguments": dict(self.arguments),
            "inputs": list(self.inputs),
        }
        return {METADATA_KEY: json.dumps(content)}


def recorded_architecture(path: str | os.PathLike[str]) -> RecordedArchitecture | None:
    """Return the architecture that a checkpoint records.

    Args:
        path: a `.safetensors` file, or a folder with a `model.safetensors`.

    Returns:
        The record; None for any other file, and for files without a record.

    Raises:
        OneBasinError: The record is damaged.
    """
    file = Path(path, _MODEL_FILE) if os.path.isdir(path) else Path(path)
    if file.suffix != ".safetensors" or not os.path.isfile(file):
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError):
        return None  # opening the checkpoint explains what is wrong with the file
    return None if text is None else _parse(text, file)


def _parse(text: str, file: Path) -> RecordedArchitecture:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if content is None or not _is_record(content):
        raise OneBasinError(
            f"{file}: the record of its architecture is damaged; give ARCH before the checkpoints"
        )
    return RecordedArchitecture(content["spec"], content["arguments"], tuple(content["inputs"]))


def _is_record(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and content.keys() == {"spec", "arguments", "inputs"}
        and isinstance(content["spec"], str)
        and isinstance(content["arguments"], dict)
        and isinstance(content["inputs"], list)
        and all(isinstance(each, str) for each in content["inputs"])
    )
