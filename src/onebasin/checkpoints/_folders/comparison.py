"""Comparison of two Hugging Face folders: equal weights must give equal outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from onebasin._text import counted
from onebasin.checkpoints._folders.configuration import (
    configuration_differences,
    preprocessor_differences,
)
from onebasin.checkpoints._folders.difference import Difference, Effect
from onebasin.checkpoints._folders.tokenizer import tokenizer_differences
from onebasin.checkpoints._sources.transformers_config import CONFIG
from onebasin.checkpoints.checkpoint import FOLDER_FILES, INDEX_SUFFIX
from onebasin.errors import ArgumentError

_REMEDY = "use checkpoints that agree, or edit one of the files if the difference has no effect"


def model_folder(path: str | os.PathLike[str]) -> Path | None:
    """Return the folder with a config.json that a checkpoint belongs to, or None.

    Args:
        path: a folder, or a model file or index in one.
    """
    folder = Path(path)
    if not folder.is_dir():
        if folder.name not in FOLDER_FILES and not folder.name.endswith(INDEX_SUFFIX):
            return None
        folder = folder.parent
    return folder if (folder / CONFIG).is_file() else None


def check_same_folder(a: Path, b: Path) -> list[str]:
    """Compare configuration, labels, tokenizer and preprocessor of two folders.

    Args:
        a: the folder of the reference.
        b: the folder of another checkpoint.

    Returns:
        Notes on the other differences.

    Raises:
        OneBasinError: a difference changes the outputs; the message names file, field and values.
    """
    differences = [
        *configuration_differences(a, b),
        *tokenizer_differences(a, b),
        *preprocessor_differences(a, b),
    ]
    _check_harmless(differences, a, b)
    return _notes(differences, a, b)


def check_same_configuration(a: Path, b: Path, *, skipped: Iterable[str] = ()) -> None:
    """Compare only the configurations of two folders.

    Args:
        a: the folder that names the architecture.
        b: the folder of the reference.
        skipped: fields that the user sets.

    Raises:
        OneBasinError: a difference changes the outputs of equal weights.
    """
    if not os.path.samefile(a, b):
        _check_harmless(list(configuration_differences(a, b, frozenset(skipped))), a, b)


def _check_harmless(differences: list[Difference], a: Path, b: Path) -> None:
    harmful = [d for d in differences if d.effect is Effect.FUNCTION]
    if harmful:
        more = f" (and {counted(len(harmful) - 1, 'other field')} differ)" if harmful[1:] else ""
        raise ArgumentError(f"{harmful[0].to_text(a, b)}{more}; {_REMEDY}")


def _notes(differences: list[Difference], a: Path, b: Path) -> list[str]:
    if not differences:
        return []
    if len(differences) == 1:
        return [f"{differences[0].to_text(a, b)}; the output gets the first"]
    names = ", ".join(difference.field for difference in differences)
    return [f"{a} and {b} differ in {names}; the output gets the files of the first"]
