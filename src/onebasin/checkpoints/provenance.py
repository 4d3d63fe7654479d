"""Provenance: how a checkpoint was computed, kept in the metadata of its files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from onebasin._files import check_regular_file
from onebasin.checkpoints.reading import INDEX_SUFFIX
from onebasin.errors import OneBasinError

KEY = "onebasin.provenance"


def provenance_metadata(
    command: str, sources: Sequence[str | os.PathLike[str]], *, version: str, **facts: Any
) -> dict[str, str]:
    """Return the provenance of a network as metadata of a safetensors file.

    Args:
        command: name of the command, such as `merge`.
        sources: the checkpoints, the reference first; their names are kept, not their folders.
        version: the version of onebasin.
        **facts: further plain JSON values, such as the method; None is omitted.

    Example:
        >>> text = provenance_metadata("merge", ["runs/a.pt", "b.pt"], version="1.0")[KEY]
        >>> json.loads(text)["sources"]
        ['a.pt', 'b.pt']
    """
    given = {name: value for name, value in facts.items() if value is not None}
    names = [Path(source).name for source in sources]
    content = {"command": command, "sources": names, **given, "version": version}
    return {KEY: json.dumps(content)}


def read_provenance(path: str | os.PathLike[str]) -> Mapping[str, Any] | None:
    """Return the provenance of a checkpoint, or None if its files have none.

    Args:
        path: a `.safetensors` file, an index, or a folder.

    Raises:
        OneBasinError: the file cannot be read, or its provenance is malformed.
    """
    file = _first_file(Path(path))
    if file is None or file.suffix != ".safetensors":
        return None
    check_regular_file(file)
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(KEY)
        content = None if text is None else json.loads(text)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise OneBasinError(f"{path}: the provenance cannot be read ({error})") from error
    if content is not None and not isinstance(content, dict):
        raise OneBasinError(f"{path}: the metadata {KEY!r} is not a JSON object")
    return content


def _first_file(path: Path) -> Path | None:
    """Return the file, or the first safetensors file of a folder: all have equal metadata."""
    folder = path.parent if path.name.endswith(INDEX_SUFFIX) else path
    if not folder.is_dir():
        return path
    return min(folder.glob("*.safetensors"), default=None)
