"""The store: results and records of tasks, by key.

The record `KEY.json` is written after the files that it lists; without it a result does not exist.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.store.files import Files
from onebasin_studies.runtime.store.records import Failure, Record
from onebasin_studies.runtime.store.rows import decode_rows, encode_rows
from onebasin_studies.runtime.store.tensors import StoredTensors, encode_tensors
from onebasin_studies.runtime.task import Result

RESULTS = "results"
FAILURE = ".failed.json"


class CorruptResultError(OneBasinError):
    """Raised when a stored result does not match its record; it can be computed again.

    Args:
        text: message that names the file.
        key: key of the result.
    """

    def __init__(self, text: str, key: str) -> None:
        super().__init__(text)
        self.key = key


class Store:
    """Results by key, in a folder or under a URL that all workers reach.

    Args:
        root: the folder or fsspec URL of the studies; results are stored in its `results/`.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.files = Files(root)

    def save(self, key: str, result: Result, about: Mapping[str, Any]) -> None:
        """Store a result.

        Args:
            key: key of its task.
            result: rows and tensors.
            about: data of its record, without "files".

        Raises:
            OneBasinError: if the result cannot be written; then it does not exist.
        """
        parts: dict[str, bytes] = {}
        if result.rows:
            parts["parquet"] = encode_rows(result.rows)
        if result.tensors:
            parts["safetensors"] = encode_tensors(result.tensors)
        for suffix, data in parts.items():
            self.files.write(_path(key, f".{suffix}"), data)
        stored = {suffix: {"bytes": len(d), "sha256": _hash(d)} for suffix, d in parts.items()}
        text = json.dumps({**about, "files": stored}, indent=1) + "\n"
        self.files.write(_path(key, ".json"), text.encode())
        self.files.remove(_path(key, FAILURE))

    def finished(self) -> set[str]:
        """Return the keys of all results."""
        return {_key_of(name) for name in self.files.names(RESULTS) if _is_record(name)}

    def has(self, key: str) -> bool:
        """Return whether a result exists."""
        return self.files.size(_path(key, ".json")) is not None

    def record(self, key: str) -> Record | None:
        """Return the record of a result, or None.

        Raises:
            CorruptResultError: if the record is invalid.
        """
        name = _path(key, ".json")
        data = self.files.read(name)
        if data is None:
            return None
        try:
            return Record.parse(data)
        except ValueError as error:
            raise CorruptResultError(f"{self.files.shown(name)}: corrupt record", key) from error

    def check(self, key: str) -> Record | None:
        """Return the record of a complete result, or None without a record.

        Compares the hash of the rows and the size of the tensors; `load` also compares their hash.

        Raises:
            CorruptResultError: if a file does not match the record.
        """
        record = self.record(key)
        if record is not None:
            self._rows(key, record)
            self._check_size(key, record, "safetensors")
        return record

    def load(self, key: str, *, trusts_tensors: bool = False) -> Result:
        """Return a result; its tensors are read lazily.

        Args:
            key: key of the task.
            trusts_tensors: whether to compare only the size of the tensor file, as for reports,
                which do not read it. Otherwise its hash is compared, once per process.

        Raises:
            CorruptResultError: if the result is missing or does not match its record.
        """
        record = self.record(key)
        if record is None:
            name = self.files.shown(_path(key, ".json"))
            raise CorruptResultError(f"{name}: is missing", key)
        tensors = self._tensors(key, record, is_hashed=not trusts_tensors)
        return Result(self._rows(key, record), tensors)

    def discard(self, key: str) -> None:
        """Delete a result, its record first."""
        for suffix in (".json", ".parquet", ".safetensors"):
            self.files.remove(_path(key, suffix))

    def save_failure(self, failure: Failure) -> None:
        """Store a failure until the task succeeds."""
        text = json.dumps(vars(failure), indent=1) + "\n"
        self.files.write(_path(failure.key, FAILURE), text.encode())

    def failures(self) -> dict[str, Failure]:
        """Return the failures by task key; invalid files are ignored."""
        failures = {}
        for name in self.files.names(RESULTS):
            data = self.files.read(name) if name.endswith(FAILURE) else None
            failure = None if data is None else Failure.parse(data)
            if failure is not None:
                failures[_key_of(name)] = failure
        return failures

    def _rows(self, key: str, record: Record) -> Sequence[Mapping[str, Any]]:
        if "parquet" not in record.data["files"]:
            return []
        name = _path(key, ".parquet")
        data = self.files.read(name)
        if data is None:
            raise CorruptResultError(f"{self.files.shown(name)}: the row file is missing", key)
        if _hash(data) != record.data["files"]["parquet"]["sha256"]:
            raise CorruptResultError(
                f"{self.files.shown(name)}: corrupt row file, not what its record says", key
            )
        return decode_rows(data)

    def _tensors(self, key: str, record: Record, *, is_hashed: bool) -> Mapping[str, Any]:
        if "safetensors" not in record.data["files"]:
            return {}
        self._check_size(key, record, "safetensors")
        name = _path(key, ".safetensors")
        path, scratch = self.files.local_copy(name)
        try:
            tensors = StoredTensors(path, scratch)
        except OneBasinError as error:
            raise CorruptResultError(str(error), key) from error
        if is_hashed and _file_hash(path) != record.data["files"]["safetensors"]["sha256"]:
            raise CorruptResultError(
                f"{self.files.shown(name)}: corrupt checkpoint, not what its record says", key
            )
        return tensors

    def _check_size(self, key: str, record: Record, suffix: str) -> None:
        stored = record.data["files"].get(suffix)
        name = _path(key, f".{suffix}")
        size = None if stored is None else self.files.size(name)
        if stored is not None and size != stored["bytes"]:
            is_of = "is missing" if size is None else f"has {size} of {stored['bytes']} bytes"
            raise CorruptResultError(f"{self.files.shown(name)}: {is_of}", key)


def _path(key: str, suffix: str) -> str:
    return f"{RESULTS}/{key[:2]}/{key}{suffix}"


def _key_of(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _is_record(name: str) -> bool:
    return name.endswith(".json") and not name.endswith(FAILURE)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file_hash(path: Path) -> str:
    """Return the hash of a file; an unchanged file is read once per process."""
    state = path.stat()
    return _hash_of_state(path, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=4096)
def _hash_of_state(path: Path, size: int, changed: int, inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
