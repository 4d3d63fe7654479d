"""Architectures that checkpoints determine: by a record, or by a config.json."""

from __future__ import annotations

import os
from collections.abc import Sequence

from onebasin.checkpoints.builtin import BUILTIN_ARCHITECTURES
from onebasin.checkpoints.foreign import refuse_foreign_folder
from onebasin.checkpoints.outputs import TORCH_OUTPUT_SUFFIXES
from onebasin.checkpoints.records import LIBRARIES, SOURCES, ArchitectureRecord, read_record
from onebasin.errors import OneBasinError

HF = "hf:"
_SUFFIXES = (".safetensors", ".json", *TORCH_OUTPUT_SUFFIXES)


def is_named(word: str) -> bool:
    """Return whether a word is the name of an architecture, even if a file has that name."""
    source, colon, _ = word.partition(":")
    return word in BUILTIN_ARCHITECTURES or (bool(colon) and source in SOURCES)


def is_path(word: str) -> bool:
    """Return whether a word is the path of a checkpoint, which may be missing."""
    if os.path.lexists(word):
        return True
    return ":" not in word and (os.sep in word or word.endswith(_SUFFIXES))


def is_model_folder(word: str) -> bool:
    """Return whether a word is a folder with a config.json."""
    return not is_named(word) and os.path.isfile(os.path.join(word, "config.json"))


def without_hf(word: str) -> str:
    """Return the folder of `hf:FOLDER`; any other word unchanged."""
    folder = word.removeprefix(HF)
    return folder if os.path.isdir(folder) else word


def recorded_architecture(call: str, word: str, words: Sequence[str]) -> ArchitectureRecord:
    """Return the architecture that a checkpoint determines.

    Args:
        call: name of the public function, for messages.
        word: path of the checkpoint.
        words: all networks, for messages.

    Raises:
        OneBasinError: the checkpoint does not exist, determines no architecture, or records one
            that is code of the user.
    """
    path = without_hf(word)
    if not os.path.exists(path):
        raise OneBasinError(f"{path}: no such file or folder; check the path")
    recorded = read_record(path)
    if recorded is not None:
        _check_trusted(call, recorded.spec, words)
        return recorded
    if os.path.isfile(os.path.join(path, "config.json")):
        return ArchitectureRecord(f"{HF}{path}")
    if os.path.isdir(path):
        refuse_foreign_folder(path)
    what = "the folder has no config.json" if os.path.isdir(path) else "no architecture is recorded"
    raise OneBasinError(
        f"{call}: ARCH is missing ({path}: {what}); give ARCH before the checkpoints, such as "
        f"onebasin {call} torchvision:resnet50 {' '.join(words)}"
    )


def _check_trusted(call: str, spec: str, words: Sequence[str]) -> None:
    """Check that a file does not cause the import of a module of the user."""
    source, colon, _ = spec.partition(":")
    is_library = bool(colon) and source in LIBRARIES
    if spec not in BUILTIN_ARCHITECTURES and not is_library:
        raise OneBasinError(
            f"{call}: {words[0]} records the architecture {spec!r}, which is not part of a known "
            f"library; if you trust it, give it as ARCH: onebasin {call} {spec} {' '.join(words)}"
        )
