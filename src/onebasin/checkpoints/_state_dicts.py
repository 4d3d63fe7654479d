"""Selection of one state dict in the content of a checkpoint file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from onebasin._text import some_names
from onebasin.checkpoints._inert import Inert, module_tensors
from onebasin.errors import OneBasinError

DEFAULT_KEY = "."
"""The value of `key=` that selects the default of the file."""

KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "generator",
    "params",
    "weights",
    "module",
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "ema",
    "params_ema",
)
"""Keys of the state dict of the model in files of training scripts, in order of preference."""

_REMEDY = "save plain tensors with torch.save(model.state_dict(), path)"
_MAX_DEPTH = 8
_MAX_VISITS = 100_000
# Other entries with tensors that training scripts store; names are compared in lower case.
_NOT_A_MODEL = re.compile(r"optim|sched|scaler|rng|callbacks|loops|amp$|history|metrics|args")


@dataclass(frozen=True)
class StateDict:
    """One state dict of a file.

    Args:
        tensors: names and tensors.
        key: the keys that lead to it, joined by dots; empty for the whole content.
        others: keys of the other state dicts in the file.
        left_out: names of entries that are not tensors.
    """

    tensors: Mapping[str, Tensor]
    key: str = ""
    others: tuple[str, ...] = ()
    left_out: tuple[str, ...] = field(default=())

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts about the selection that the user should know."""
        notes = []
        if self.others:
            selected = repr(self.key) if self.key else "the top level"
            notes.append(
                f"read {selected}; the file also holds {some_names(self.others)}, which "
                "key= selects"
            )
        if self.left_out:
            notes.append(f"entries that are not tensors are ignored: {some_names(self.left_out)}")
        return tuple(notes)


def select_state_dict(content: Any, key: str | None = None) -> StateDict:
    """Return the state dict that a key selects, or the default one.

    Without a key, the first of `KEYS` whose value holds tensors is followed, at every level.
    Without such a key, the only value that holds tensors is followed.

    Args:
        content: content of the file.
        key: a key; a dotted path of keys; or the prefix of tensor names, without the dot.

    Raises:
        OneBasinError: the key is missing, the choice is ambiguous, or the selected value is not a
            mapping of names to tensors. The message does not have the path of the file.
    """
    content = _with_plain_modules(content)
    if key in (None, DEFAULT_KEY):
        selected, keys = _default(content, ())
        others = _other_keys(content, ".".join(keys))
        return _checked(selected, ".".join(keys), others)
    chosen = _resolve(content, key)
    if chosen is None:
        chosen = _resolve_in_default(content, key)
    if chosen is None:
        available = list(_state_dict_keys(content))
        known = f"the file holds {some_names(available, limit=8)}"
        if not available:
            known = "the file holds a single state dict; remove key="
        raise OneBasinError(f"no key {key!r} that holds tensors; {known}")
    return _checked(_default(chosen, ())[0], key, ())


def _with_plain_modules(content: Any) -> Any:
    """Replace a pickled module, the whole content or one of its values, by its tensors."""
    if not isinstance(content, Mapping):
        tensors = module_tensors(content)
        return content if tensors is None else tensors
    plain = {key: module_tensors(value) for key, value in content.items()}
    return {key: value if plain[key] is None else plain[key] for key, value in content.items()}


def _default(content: Any, keys: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """Follow the default keys down to the innermost state dict."""
    while isinstance(content, Mapping) and len(keys) < _MAX_DEPTH:
        inner = [
            key
            for key, value in content.items()
            if isinstance(key, str) and isinstance(value, Mapping) and _holds_tensors(value)
        ]
        known = next((k for k in KEYS if k in inner), None)
        if known is None:
            if not inner or _direct_tensors(content):
                break
            inner = [k for k in inner if not _NOT_A_MODEL.search(k.lower())] or inner
            if len(inner) > 1:
                raise OneBasinError(
                    f"holds several state dicts ({some_names(inner, limit=8)}); select one "
                    "with key="
                )
            known = inner[0]
        content, keys = content[known], (*keys, known)
    return content, keys


def _resolve(content: Any, key: str) -> Mapping[Any, Any] | None:
    """Follow a dotted path of keys; its end may be a prefix of tensor names."""
    if not isinstance(content, Mapping):
        return None
    if isinstance(content.get(key), Mapping):
        return content[key]
    for index, character in enumerate(key):
        inner = content.get(key[:index]) if character == "." else None
        resolved = _resolve(inner, key[index + 1 :]) if isinstance(inner, Mapping) else None
        if resolved is not None:
            return resolved
    return with_prefix(content, key) or None


def _resolve_in_default(content: Any, key: str) -> Mapping[Any, Any] | None:
    """Follow a key inside the default state dict; None without a default."""
    try:
        default, keys = _default(content, ())
    except OneBasinError:
        return None
    return _resolve(default, key) if keys else None


def with_prefix(content: Mapping[Any, Any], prefix: str) -> dict[str, Any]:
    """Return the entries whose names begin with a prefix and a dot, which are removed."""
    start = f"{prefix}."
    return {
        name[len(start) :]: value
        for name, value in content.items()
        if isinstance(name, str) and name.startswith(start) and name != start
    }


def _checked(content: Any, key: str, others: tuple[str, ...]) -> StateDict:
    """Return the tensors; raise an error for other entries than tensors and plain values."""
    if not isinstance(content, Mapping):
        kind = content.type_name if isinstance(content, Inert) else type(content).__name__
        raise OneBasinError(f"holds {kind}, not a mapping of names to tensors; {_REMEDY}")
    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(name, str) and not _holds_tensors(value):
            left_out.append(name)
        else:
            raise OneBasinError(
                f"entry {name!r} is of type {type(value).__name__}, not a named tensor; "
                f"{_REMEDY}, or put the state dict under a key such as 'state_dict'"
            )
    return StateDict(tensors, key, others, tuple(left_out) if tensors else ())


def _other_keys(content: Any, selected: str) -> tuple[str, ...]:
    """Return the keys of the state dicts of a file outside of the selected one."""
    return tuple(
        key
        for key in _state_dict_keys(content)
        if key != selected
        and not key.startswith(f"{selected}.")
        and not _NOT_A_MODEL.search(key.lower())
    )


def _state_dict_keys(content: Any) -> Iterator[str]:
    """Yield the dotted keys of all mappings that directly hold named tensors."""
    stack: list[tuple[Any, tuple[str, ...]]] = [(content, ())]
    seen: set[int] = set()
    while stack and len(seen) < _MAX_VISITS:
        mapping, keys = stack.pop()
        if not isinstance(mapping, Mapping) or id(mapping) in seen or len(keys) > _MAX_DEPTH:
            continue
        seen.add(id(mapping))
        if keys and _direct_tensors(mapping):
            yield ".".join(keys)
        for key, value in reversed([*mapping.items()]):
            if isinstance(key, str) and isinstance(value, Mapping):
                stack.append((value, (*keys, key)))


def _direct_tensors(content: Mapping[Any, Any]) -> bool:
    return any(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def _holds_tensors(value: Any) -> bool:
    """Return whether nested mappings and lists hold tensors; cycles are followed once."""
    stack, seen = [value], set[int]()
    while stack and len(seen) < _MAX_VISITS:
        value = stack.pop()
        if isinstance(value, Tensor):
            return True
        if isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            stack.extend(value.values() if isinstance(value, Mapping) else value)
    return False
