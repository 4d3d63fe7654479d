"""Configuration, tokenizer and license files of a folder with weights."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

from onebasin.errors import OneBasinError

_PATTERNS = (
    "*config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
    "LICENSE*",
    "NOTICE*",
)


def companion_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are copied to an output folder.

    Args:
        folder: the folder of a checkpoint.

    Raises:
        OneBasinError: one of them is a link to a file outside the folder. Links into `blobs` of
            the same repository pass: the cache of the Hugging Face hub consists of them.
    """
    files = [
        file
        for file in sorted(folder.iterdir())
        if file.is_file() and any(fnmatch.fnmatch(file.name, pattern) for pattern in _PATTERNS)
    ]
    for file in files:
        if file.is_symlink():
            _check_link(file, folder)
    return files


def _check_link(file: Path, folder: Path) -> None:
    target, inside = Path(os.path.realpath(file)), Path(os.path.realpath(folder))
    is_cache = inside.parent.name == "snapshots"
    allowed = [inside, *([inside.parent.parent / "blobs"] if is_cache else [])]
    if not any(target.is_relative_to(parent) for parent in allowed):
        raise OneBasinError(
            f"{file}: is a link to {target}, which is outside the folder and would be copied to "
            "the output; replace the link with the file, or remove it"
        )
