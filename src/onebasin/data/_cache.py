"""The cache: decoded tensors in memory-mapped files, written atomically."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from onebasin._files import atomic_folder
from onebasin.errors import OneBasinError

MANIFEST = "manifest.json"
FORMAT = 2
CHECKED_BYTES = 1 << 30
"""Only the beginning and the end of a larger file are checked on opening."""

Needed = tuple[Sequence[str], Sequence[str]]

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Stored:
    """A dataset in the cache.

    Args:
        facts: metadata from decoding.
        tensors: memory-mapped tensors by name; changes to them are not written.
    """

    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the cache.

    Args:
        given: the folder. Default: the environment variable ONEBASIN_CACHE, or `onebasin` in
            the cache folder of the platform.
    """
    if given is not None:
        return Path(given)
    if os.environ.get("ONEBASIN_CACHE"):
        return Path(os.environ["ONEBASIN_CACHE"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "onebasin"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "onebasin"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onebasin"


def cached(
    folder: Path, write: Callable[[Path], Mapping[str, Any]], *, needed: Needed = ((), ())
) -> Stored:
    """Return the content of a folder of the cache, which is written first if needed.

    An incomplete folder, with a changed, truncated or missing file, is written again. If several
    processes need one folder, one writes and the others wait.

    Args:
        folder: the folder of a dataset with one set of options.
        write: function of a folder that writes `NAME.bin` for each tensor there. It returns
            metadata with `tensors`: `dtype` and `shape` by name.
        needed: names of the tensors and of the metadata of a complete folder.

    Raises:
        OneBasinError: when the cache cannot be written, or `write` raises it.
    """
    if (stored := _open(folder, needed)) is not None:
        return stored
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if (stored := _open(folder, needed)) is not None:
                return stored
            _clear(folder)
            with atomic_folder(folder) as temporary:
                _write_manifest(temporary, write(temporary))
    except OSError as error:
        raise OneBasinError(
            f"data: the cache {folder} cannot be written ({error.strerror or error}); make room, "
            "or name another folder in ONEBASIN_CACHE"
        ) from error
    stored = _open(folder, needed)
    assert stored is not None, f"{folder} was written but cannot be opened"
    return stored


def _clear(folder: Path) -> None:
    """Remove an incomplete folder and temporary folders of killed processes."""
    if folder.exists():
        _LOGGER.warning(
            "data: the cache %s is incomplete or of another version; it is written again", folder
        )
        shutil.rmtree(folder)
    for left in folder.parent.glob(f".{folder.name[:100]}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    tensors = {
        name: {**tensor, "sha256": _checksum(folder / f"{name}.bin")}
        for name, tensor in facts["tensors"].items()
    }
    text = json.dumps({**facts, "format": FORMAT, "tensors": tensors}, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def _open(folder: Path, needed: Needed) -> Stored | None:
    """Return the content of a folder, or None if it is missing or incomplete."""
    try:
        facts = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            return None
        tensors = {name: _map(folder / f"{name}.bin", t) for name, t in facts["tensors"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    whole = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    is_whole = len(whole) == len(tensors)
    for names, available in zip(needed, (whole, facts), strict=True):
        is_whole = is_whole and available.keys() >= set(names)
    return Stored(facts, whole) if is_whole else None


def _map(path: Path, described: Mapping[str, Any]) -> Tensor | None:
    dtype, shape = getattr(torch, described["dtype"]), described["shape"]
    size = math.prod(shape)
    if path.stat().st_size != size * dtype.itemsize or _checksum(path) != described["sha256"]:
        return None
    return torch.from_file(str(path), shared=False, size=size, dtype=dtype).view(shape)


def _checksum(path: Path) -> str:
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size <= CHECKED_BYTES:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest = hashlib.sha256(stream.read(CHECKED_BYTES // 2))
        stream.seek(size - CHECKED_BYTES // 2)
        digest.update(stream.read())
        return digest.hexdigest()
