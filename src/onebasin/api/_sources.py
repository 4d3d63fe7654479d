"""Networks in any form: modules, state dicts, paths, results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from onebasin._checks import described, state_of
from onebasin._text import counted
from onebasin.checkpoints import Architecture, Checkpoint, open_checkpoint, open_checkpoint_for
from onebasin.checkpoints._lazy import describe
from onebasin.errors import ArgumentError

FORMS = "a module, a state dict, a path, or a result of align or merge"


@dataclass(frozen=True)
class Source:
    """One network.

    Args:
        label: name for messages and reports: the path, or the name of the argument.
        content: the path of a file or folder, or a mapping with the tensors.
        key: which state dict to read, or None for the default.
    """

    label: str
    content: Path | Mapping[str, Any]
    key: str | None = None

    @property
    def path(self) -> Path | None:
        """The path of the file or folder; None for a network in memory."""
        return self.content if isinstance(self.content, Path) else None

    def open(self, architecture: Architecture) -> Checkpoint:
        """Open the network with the tensor names of its architecture."""
        return open_checkpoint_for(architecture, self.content, key=self.key, label=self.label)

    def num_entries(self) -> int:
        """Return the number of entries of all tensors; unreadable files raise an error here."""
        if self.path is None:
            return 0
        with open_checkpoint(self.path, key=self.key) as checkpoint:
            return sum(prod(describe(checkpoint, name).shape) for name in checkpoint)


def sources_of(networks: Any, keys: str | Sequence[str] | None = None) -> tuple[Source, ...]:
    """Return networks as sources.

    Args:
        networks: the networks, by name or in order.
        keys: which state dict of each network to read: one key for all, or one for each.

    Raises:
        OneBasinError: a network has another form, or the number of keys is wrong.
    """
    if isinstance(networks, str | os.PathLike | nn.Module) or not isinstance(
        networks, Mapping | Sequence
    ):
        raise ArgumentError(f"networks is {described(networks)}; pass a list, such as [a, b]")
    if is_state_dict(networks):
        raise ArgumentError("networks is a single state dict; pass a list, such as [a, b]")
    if not networks:
        raise ArgumentError("networks is empty; pass a list of networks, such as [a, b]")
    named = (
        networks
        if isinstance(networks, Mapping)
        else {f"networks[{place}]": each for place, each in enumerate(networks)}
    )
    all_keys = keys_for(keys, len(named))
    pairs = zip(named.items(), all_keys, strict=True)
    return tuple(_source(name, value, key) for (name, value), key in pairs)


def is_state_dict(networks: Any) -> bool:
    """Return whether a value is the state dict of one network, not a mapping of networks."""
    if not isinstance(networks, Mapping):
        return False
    is_lazy = callable(getattr(networks, "metadata", None))
    return is_lazy or any(isinstance(value, Tensor) for value in networks.values())


def _source(name: str, value: Any, key: str | None) -> Source:
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        folder = path.removeprefix("hf:")
        path = folder if os.path.isdir(folder) else path
        return Source(path, Path(path), key)
    if isinstance(value, nn.Module):
        return Source(name, state_of(value), key)
    if isinstance(value, Mapping):
        return Source(str(getattr(value, "path", None) or name), value, key)
    for attribute in ("state_dict", "params"):
        content = getattr(value, attribute, None)
        if isinstance(content, Mapping):
            return Source(name, content, key)
    raise ArgumentError(f"{name} is {described(value)}; pass {FORMS}")


def keys_for(keys: str | Sequence[str] | None, num_networks: int) -> list[str | None]:
    """Return the key of each network.

    Args:
        keys: one key for all networks, or one for each.
        num_networks: number of networks.

    Raises:
        OneBasinError: the number of keys is wrong.

    Example:
        >>> keys_for(["model_ema"], 2)
        ['model_ema', 'model_ema']
    """
    if not keys:
        return [None] * num_networks
    keys = [keys] if isinstance(keys, str) else [*keys]
    if len(keys) not in (1, num_networks):
        raise ArgumentError(
            f"{counted(len(keys), 'key')} for {counted(num_networks, 'network')}; give key= once "
            "for all, or once for each ('.' for the default of a file)"
        )
    return [*keys] * (num_networks if len(keys) == 1 else 1)
