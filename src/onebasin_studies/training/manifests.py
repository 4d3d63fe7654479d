"""Manifests: descriptions of the training in a folder, which prevent mixing two of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onebasin.errors import OneBasinError

MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder, or None.

    Args:
        folder: the folder of a training.

    Raises:
        OneBasinError: if the file is not a manifest.
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text("utf-8")) if file.is_file() else None
    except (ValueError, RecursionError):
        found = None
    if not _is_manifest(found):
        raise OneBasinError(
            f"{file}: not the manifest of a training; choose another folder, or start again with "
            "resume=False (--restart)"
        )
    return found


def _is_manifest(found: Any) -> bool:
    """Tell whether it says what is wanted, and has each of the wanted seeds in one group."""
    if not isinstance(found, dict) or not isinstance(found.get("wanted"), dict):
        return False
    seeds, groups = found["wanted"].get("seeds"), found.get("groups")
    if not isinstance(seeds, list) or not isinstance(groups, list):
        return False
    if not all(isinstance(group, list) for group in groups):
        return False
    grouped = [seed for group in groups for seed in group]
    are_whole = all(isinstance(seed, int) for seed in [*grouped, *seeds])
    return are_whole and sorted(grouped) == sorted(seeds)


def check_same(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that a folder holds the training that is wanted.

    Args:
        path: the folder.
        there: what its manifest says that was wanted.
        wanted: what is wanted now.

    Raises:
        OneBasinError: naming the first thing that differs.
    """
    # What was written came through JSON, so what is wanted goes through it too.
    wanted = json.loads(json.dumps(wanted))
    for name in [*wanted, *(key for key in there if key not in wanted)]:
        if there.get(name) != wanted.get(name):
            raise OneBasinError(
                f"{path}: holds another training, with {name} {_short(there.get(name))}, not "
                f"{_short(wanted.get(name))}; choose another folder, or start anew with "
                "resume=False (--restart)"
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
