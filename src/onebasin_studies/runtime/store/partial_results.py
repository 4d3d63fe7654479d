"""Partial results: state of long calls to resume from after a kill.

Each call has its own folder in `partial/`, named after its tasks and deleted at the end. They exist
only in local folders, not behind URLs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from onebasin_studies.runtime.store.files import Files

PARTIAL = "partial"
CALL = "call.json"
KEPT = "kept"


class PartialResults:
    """The partial results of all calls of a study folder.

    Args:
        files: files of the folder.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def open(self, keys: Sequence[str]) -> Path | None:
        """Return the folder of a call, with its earlier contents.

        Args:
            keys: keys of the tasks of the call, in order.

        Returns:
            An existing folder; None behind a URL.
        """
        if self._files.folder is None:
            return None
        text = json.dumps({"keys": list(keys)}) + "\n"
        self._files.write(f"{PARTIAL}/{_name(keys)}/{CALL}", text.encode())
        kept = self._folder(keys) / KEPT
        kept.mkdir(exist_ok=True)
        return kept

    def close(self, keys: Sequence[str]) -> None:
        """Delete the partial results of a call."""
        if self._files.folder is not None:
            shutil.rmtree(self._folder(keys), ignore_errors=True)

    def begun(self) -> list[tuple[str, ...]]:
        """Return the task keys of each call with partial results."""
        if self._files.folder is None:
            return []
        calls = []
        for path in sorted(Path(self._files.folder, PARTIAL).glob(f"*/{CALL}")):
            keys = _keys_in(path.read_bytes())
            if keys is None:
                shutil.rmtree(path.parent, ignore_errors=True)
            else:
                calls.append(keys)
        return calls

    def _folder(self, keys: Sequence[str]) -> Path:
        return Path(self._files.root, PARTIAL, _name(keys))


def _name(keys: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(keys).encode()).hexdigest()[:32]


def _keys_in(text: bytes) -> tuple[str, ...] | None:
    try:
        keys = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError):
        return None
    is_whole = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    return tuple(keys) if is_whole else None
