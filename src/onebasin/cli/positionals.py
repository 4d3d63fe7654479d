"""Positional arguments `[ARCH] A B ...`: the architecture and the checkpoints.

ARCH comes first. It can be omitted where the first checkpoint determines the architecture: a
folder with a config.json, also written hf:DIR, or a file that records its architecture.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onebasin.checkpoints.builtin import BUILTIN_ARCHITECTURES
from onebasin.checkpoints.foreign import refuse_foreign_folder
from onebasin.checkpoints.outputs import TORCH_OUTPUT_SUFFIXES
from onebasin.checkpoints.records import (
    LIBRARIES,
    SOURCES,
    ArchitectureRecord,
    merged_arguments,
    read_record,
    shared_record,
)
from onebasin.errors import OneBasinError

_HF = "hf:"
_SUFFIXES = (".safetensors", ".json", *TORCH_OUTPUT_SUFFIXES)
_NUMBERS = ("no", "one", "two", "three", "four")


@dataclass(frozen=True)
class Positionals:
    """The architecture and the checkpoints of a command.

    Args:
        architecture: what to build; arguments and inputs are those that A records, if any.
        paths: checkpoints, the reference first.
    """

    architecture: ArchitectureRecord
    paths: tuple[Path, ...]


def split_positionals(
    call: str, words: Sequence[str], *, minimum: int = 2, maximum: int | None = None
) -> Positionals:
    """Split positional arguments into the architecture and the checkpoints.

    Args:
        call: the command, for messages.
        words: the arguments as the user wrote them.
        minimum: fewest checkpoints that the command takes.
        maximum: most checkpoints, or None for any number.

    Raises:
        OneBasinError: when ARCH is missing or the number of checkpoints is wrong.
    """
    first, *others = words
    if _is_checkpoint(first, others, minimum, maximum):
        architecture = _architecture_of(call, first, words)
        paths = words
    else:
        spec = f"{_HF}{first}" if _is_model_folder(first) else first
        architecture, paths = ArchitectureRecord(spec), others
    _check_number(call, first, len(paths), len(words), minimum, maximum)
    files = tuple(Path(_without_hf(path)) for path in paths)
    return Positionals(_with_record(architecture, files), files)


def _with_record(architecture: ArchitectureRecord, paths: Sequence[Path]) -> ArchitectureRecord:
    """Return an architecture with what the checkpoints record, which must not contradict it."""
    record = shared_record(paths)
    if record is None:
        return architecture
    arguments = merged_arguments(record, architecture.spec, architecture.arguments)
    return replace(record, spec=architecture.spec, arguments=arguments)


def inspected_architecture(word: str) -> ArchitectureRecord:
    """Return the architecture that the one argument of `inspect` determines.

    Args:
        word: ARCH, or a checkpoint that determines its architecture.

    Raises:
        OneBasinError: when it is a checkpoint that does not.
    """
    if _is_named(word) or not _is_path(word):
        return ArchitectureRecord(word)
    return _architecture_of("inspect", word, [word])


def _is_checkpoint(first: str, others: Sequence[str], minimum: int, maximum: int | None) -> bool:
    """Return whether the first argument is A, so that ARCH was omitted."""
    is_folder = first.startswith(_HF) or _is_model_folder(first)
    if is_folder and len(others) >= minimum and _without_hf(first) in map(_without_hf, others):
        return False  # `merge DIR DIR other`: the folder is ARCH, then A
    if first.startswith(_HF):
        fits = len(others) + 1 >= minimum and (maximum is None or len(others) < maximum)
        return fits and all(other.startswith(_HF) for other in others)
    return not _is_named(first) and _is_path(first)


def _is_named(word: str) -> bool:
    """Return whether a word names an architecture even where a file has that name."""
    source, colon, _ = word.partition(":")
    return word in BUILTIN_ARCHITECTURES or (bool(colon) and source in SOURCES)


def _is_path(word: str) -> bool:
    if os.path.lexists(word):
        return True
    return ":" not in word and (os.sep in word or word.endswith(_SUFFIXES))


def _is_model_folder(word: str) -> bool:
    return not _is_named(word) and os.path.isfile(os.path.join(word, "config.json"))


def _without_hf(word: str) -> str:
    folder = word.removeprefix(_HF)
    return folder if os.path.isdir(folder) else word


def _architecture_of(call: str, word: str, words: Sequence[str]) -> ArchitectureRecord:
    """Return the architecture of a checkpoint."""
    path = _without_hf(word)
    if not os.path.exists(path):
        raise OneBasinError(f"{path}: no such file or folder; check the path")
    recorded = read_record(path)
    if recorded is not None:
        _check_trusted(call, recorded.spec, words)
        return recorded
    if os.path.isfile(os.path.join(path, "config.json")):
        return ArchitectureRecord(f"{_HF}{path}")
    if os.path.isdir(path):
        refuse_foreign_folder(path)
    what = "the folder has no config.json" if os.path.isdir(path) else "no architecture is recorded"
    raise OneBasinError(
        f"{call}: ARCH is missing ({path}: {what}); give ARCH before the checkpoints, such as "
        f"onebasin {call} torchvision:resnet50 {' '.join(words)}"
    )


def _check_trusted(call: str, spec: str, words: Sequence[str]) -> None:
    """Refuse to import a module because a file names it."""
    source, colon, _ = spec.partition(":")
    is_library = bool(colon) and source in LIBRARIES
    if spec not in BUILTIN_ARCHITECTURES and not is_library:
        raise OneBasinError(
            f"{call}: {words[0]} records the architecture {spec!r}, which is not part of a known "
            f"library; if you trust it, give it as ARCH: onebasin {call} {spec} {' '.join(words)}"
        )


def _check_number(
    call: str, first: str, number: int, num_words: int, minimum: int, maximum: int | None
) -> None:
    if number >= minimum and (maximum is None or number <= maximum):
        return
    after = f" after ARCH {first!r}" if number < num_words else ""
    given = f"{call}: {number} checkpoint{'s' if number != 1 else ''} given{after}"
    if maximum is None:
        raise OneBasinError(f"{given}; give {_NUMBERS[minimum]} or more, the reference first")
    wanted = _NUMBERS[minimum] if minimum == maximum else f"{minimum} or {maximum}"
    raise OneBasinError(f"{given}; give {wanted}, the reference first")
