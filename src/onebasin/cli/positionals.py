"""Positional arguments `[ARCH] A B ...`: the architecture and the checkpoints.

ARCH comes first. It can be omitted where the first checkpoint determines the architecture: a
folder with a config.json, also written hf:DIR, or a file that records its architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onebasin._text import counted
from onebasin.api._architectures import (
    HF,
    is_model_folder,
    is_named,
    is_path,
    recorded_architecture,
    without_hf,
)
from onebasin.checkpoints._metadata import ArchitectureRecord
from onebasin.errors import ArgumentError

_NUMBERS = ("no", "one", "two", "three", "four")


@dataclass(frozen=True)
class Positionals:
    """The architecture and the checkpoints of a command.

    Args:
        model: ARCH.
        paths: checkpoints, the reference first.
    """

    model: str
    paths: tuple[Path, ...]


def split_positionals(
    call: str, words: Sequence[str], *, minimum: int = 2, maximum: int | None = None
) -> Positionals:
    """Split positional arguments into the architecture and the checkpoints.

    Args:
        call: the command, for the example in messages.
        words: the arguments as the user wrote them.
        minimum: fewest checkpoints that the command takes.
        maximum: most checkpoints, or None for any number.

    Raises:
        OneBasinError: when ARCH is missing or the number of checkpoints is wrong.
    """
    first, *others = words
    if _is_checkpoint(first, others, minimum, maximum):
        architecture = recorded_architecture(
            first,
            missing="ARCH is missing",
            remedy=lambda spec: _example(call, spec, words),
        )
        paths = words
    else:
        spec = f"{HF}{first}" if is_model_folder(first) else first
        architecture, paths = ArchitectureRecord(spec), others
    _check_number(first, len(paths), len(words), minimum, maximum)
    files = tuple(Path(without_hf(path)) for path in paths)
    return Positionals(architecture.spec, files)


def _example(call: str, spec: str, words: Sequence[str]) -> str:
    """Return the remedy for a missing or misplaced ARCH, with a complete command."""
    misplaced = [word for word in words if is_named(word) or (":" in word and not is_path(word))]
    arch, *_ = (*misplaced, spec)
    others = [word for word in words if word != arch]
    return f"give ARCH before the checkpoints, such as onebasin {call} {arch} {' '.join(others)}"


def _is_checkpoint(first: str, others: Sequence[str], minimum: int, maximum: int | None) -> bool:
    """Return whether the first argument is A, so that ARCH was omitted."""
    is_folder = first.startswith(HF) or is_model_folder(first)
    if is_folder and len(others) >= minimum and without_hf(first) in map(without_hf, others):
        return False  # `merge DIR DIR other`: the folder is ARCH, then A
    if first.startswith(HF):
        fits = len(others) + 1 >= minimum and (maximum is None or len(others) < maximum)
        return fits and all(other.startswith(HF) for other in others)
    return not is_named(first) and is_path(first)


def _check_number(
    first: str, number: int, num_words: int, minimum: int, maximum: int | None
) -> None:
    if number >= minimum and (maximum is None or number <= maximum):
        return
    after = f" after ARCH {first!r}" if number < num_words else ""
    given = f"{counted(number, 'checkpoint')} given{after}"
    if maximum is None:
        raise ArgumentError(f"{given}; give {_NUMBERS[minimum]} or more, the reference first")
    wanted = _NUMBERS[minimum] if minimum == maximum else f"{minimum} or {maximum}"
    raise ArgumentError(f"{given}; give {wanted}, the reference first")
