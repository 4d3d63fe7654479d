"""Names of the rows of a report: given and computed networks."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from onebasin.errors import OneBasinError

UNALIGNED, ALIGNED = "average, unaligned", "average, aligned"
MERGED = "merged"
CONSTANT = "constant prediction"
OF_PAIRS = ", mean of pairs"
_AVERAGES = tuple(f"{name}{end}" for name in (UNALIGNED, ALIGNED) for end in ("", OF_PAIRS))


def ensemble_name(members: Sequence[str]) -> str:
    """Return the name of the row of an ensemble.

    Args:
        members: names of the networks in it.

    Example:
        >>> ensemble_name(["A", "B"])
        'ensemble of A and B'
    """
    return f"ensemble of {' and '.join(members) if len(members) < 3 else f'all {len(members)}'}"


def names_of(
    labels: Sequence[str],
    call: str,
    *,
    keys: Sequence[str] = (),
    reserved: Collection[str] = (),
) -> list[str]:
    """Return the shortest names that distinguish networks from each other and from results.

    Args:
        labels: paths of the networks, or other names.
        call: name of the public function, for messages.
        keys: one key for each network, which its name then includes, or none.
        reserved: names of further rows of the report.

    Raises:
        OneBasinError: a network is given twice.

    Example:
        >>> names_of(["runs/a.pt", "runs/b.pt"], "barrier")
        ['a', 'b']
        >>> names_of(["a.pt", "merged.pt"], "merge", reserved=["merged"])
        ['a.pt', 'merged.pt']
    """
    ends = [f"[{key}]" for key in keys] or [""] * len(labels)
    given = list(zip(map(Path, labels), ends, strict=True))
    twice = next((each for each in given if given.count(each) > 1), None)
    if twice is not None:
        raise OneBasinError(
            f"{call}: {''.join(map(str, twice))} is given twice; give each checkpoint once"
        )
    # The last form always works: no name of a result starts with a dot or a slash.
    forms = (lambda path: path.stem, lambda path: path.name, str, lambda p: os.path.join(".", p))
    every = ([f"{form(path)}{end}" for path, end in given] for form in forms)
    taken = {CONSTANT, *_AVERAGES, *reserved}
    return next(names for names in every if _are_free(names, taken))


def _are_free(names: Sequence[str], taken: Collection[str]) -> bool:
    moved = {f"{name} aligned" for name in names}
    results = moved.union(taken)
    is_free = not any(name in results or name.startswith("ensemble of ") for name in names)
    return is_free and len(set(names)) == len(names)
