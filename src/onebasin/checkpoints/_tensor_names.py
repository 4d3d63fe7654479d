"""Prefixes that wrappers and training scripts add to the names of tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

_WRAPPER = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.(?=.)"
)
_MODULE = "module."
_COUNTER = "n_averaged"
_MAX_DEPTH = 8
_SAMPLES = 20


@dataclass(frozen=True)
class Renaming:
    """Names of tensors without prefixes, and notes on the removed ones.

    Args:
        stored: name in the file for each name.
        notes: facts that the user should know.
    """

    stored: dict[str, str]
    notes: tuple[str, ...] = ()


def clean_names(names: Collection[str], expected: Collection[str] | None = None) -> Renaming:
    """Return names without the prefixes of wrappers.

    Wrappers of `torch.compile`, FSDP and activation checkpoints are removed anywhere in a
    name. `module.` (DataParallel) is removed where all names begin with it; then the counter
    `n_averaged` of `AveragedModel` is left out. With the expected names, any prefix that all
    names share is removed or replaced, where the result has more of the expected names.

    Args:
        names: names in the file.
        expected: the names of the architecture's tensors.
    """
    notes: list[str] = []
    averaged = _without_counter(names)
    if averaged is not None and (expected is None or _COUNTER not in expected):
        names = averaged
        notes.append(f"the counter {_COUNTER!r} of an averaged model is left out")
    pairs = {name: name for name in names}
    best = _strip_wrappers(pairs)
    if expected is not None:
        best = _best(pairs, best, expected)
    return Renaming(best, (*notes, *_describe(best)))


def _without_counter(names: Collection[str]) -> list[str] | None:
    others = [name for name in names if name != _COUNTER]
    is_counted = 0 < len(others) < len(names)
    return others if is_counted and all(n.startswith(_MODULE) for n in others) else None


def _strip_wrappers(pairs: dict[str, str]) -> dict[str, str]:
    pairs = _renamed(pairs, lambda name: _WRAPPER.sub("", name)) or pairs
    repeats = _shared_repeats(pairs)
    return {name[repeats * len(_MODULE) :]: stored for name, stored in pairs.items()}


def _shared_repeats(names: Iterable[str]) -> int:
    """Return the number of `module.` prefixes that all names share."""
    fewest: int | None = None
    for name in names:
        count = 0
        while name.startswith(_MODULE, count * len(_MODULE)):
            count += 1
        count -= count > 0 and len(name) == count * len(_MODULE)
        fewest = count if fewest is None else min(fewest, count)
    return fewest or 0


def _renamed(pairs: dict[str, str], change: Callable[[str], str]) -> dict[str, str] | None:
    """Return the renamed names, or None if two of them would be equal."""
    renamed = {change(name): stored for name, stored in pairs.items()}
    return renamed if len(renamed) == len(pairs) else None


def _best(
    pairs: dict[str, str], stripped: dict[str, str], expected: Collection[str]
) -> dict[str, str]:
    """Return the candidate with the most expected names, the one with the fewest changes first."""
    wanted = {_WRAPPER.sub("", name): name for name in expected}
    if len(wanted) != len(expected):
        wanted = {name: name for name in expected}
    best, most = stripped, 0
    for candidate in _candidates(pairs, stripped, list(wanted)):
        named = {wanted.get(name, name): stored for name, stored in candidate.items()}
        count = len(wanted.keys() & candidate.keys())
        if count > most and len(named) == len(candidate):
            best, most = named, count
    return best


def _candidates(
    pairs: dict[str, str], stripped: dict[str, str], wanted: Sequence[str]
) -> Iterator[dict[str, str]]:
    yield pairs
    inner = _renamed(pairs, lambda name: _WRAPPER.sub("", name)) or pairs
    yield inner
    known = set(wanted)
    for base in (inner, stripped):
        for old in _shared_prefixes(list(base)):
            for new in _shared_prefixes(wanted):
                samples = list(base)[:: max(1, len(base) // _SAMPLES)]
                if any(new + name[len(old) :] in known for name in samples):
                    yield {new + name[len(old) :]: stored for name, stored in base.items()}


def _shared_prefixes(names: Sequence[str]) -> list[str]:
    """Return the dotted prefixes that all names share, from the empty one to the longest."""
    if not names:
        return [""]
    low, high = min(names), max(names)
    prefixes = [""]
    for index, (a, b) in enumerate(zip(low, high, strict=False)):
        if a != b or len(prefixes) > _MAX_DEPTH:
            break
        if a == "." and index + 1 < len(low):
            prefixes.append(low[: index + 1])
    return prefixes


def _describe(pairs: dict[str, str]) -> Iterator[str]:
    """Return a note on the removed or added prefix, with one tensor as an example."""
    name, stored = next(iter(pairs.items()), ("", ""))
    if name == stored:
        changed = next(((n, s) for n, s in pairs.items() if n != s), None)
        if changed is not None:
            yield f"names are read without wrappers, such as {changed[0]!r} for {changed[1]!r}"
        return
    if stored.endswith(name):
        yield f"the prefix {_short(stored.removesuffix(name))} of all names is removed"
    else:
        yield f"names are read with the prefix of the architecture, such as {name!r} for {stored!r}"


def _short(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else f"{text[:limit]}...")
