"""State dicts in memory, with the same interface as checkpoint files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from onebasin.checkpoints._lazy import TensorInfo, describe
from onebasin.checkpoints._state_dicts import select_state_dict
from onebasin.checkpoints.checkpoint import Checkpoint
from onebasin.errors import OneBasinError


class MemorySource:
    """The tensors of a mapping, as a source of a `Checkpoint`.

    Args:
        tensors: tensors by name; a lazy mapping is read one tensor at a time.
        label: name for messages.
        notes: facts about the selection of the tensors.
    """

    files: tuple[Path, ...] = ()

    def __init__(
        self, tensors: Mapping[str, Tensor], label: str, notes: tuple[str, ...] = ()
    ) -> None:
        self._tensors = tensors
        self.path = Path(label)
        self.notes = notes

    def names(self) -> tuple[str, ...]:
        """Return the names of the tensors."""
        return tuple(self._tensors)

    def info(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without reading it if the mapping can do so."""
        return describe(self._tensors, name)

    def read(self, name: str) -> Tensor:
        """Return a tensor, detached from any graph."""
        return self._tensors[name].detach()

    def close(self) -> None:
        """Do nothing: the mapping belongs to the caller."""


class MemoryCheckpoint(Checkpoint):
    """A state dict in memory; see `open_mapping`."""

    @property
    def folder(self) -> Path | None:
        """None: a state dict has no files."""
        return None


def open_mapping(
    content: Mapping[str, Any],
    label: str,
    *,
    key: str | None = None,
    expected_names: Collection[str] | None = None,
) -> Checkpoint:
    """Return a state dict in memory as a checkpoint.

    As for files, the state dict can be an entry of the mapping, such as `state_dict`, and
    prefixes of wrappers such as DataParallel are removed from names.

    Args:
        content: a state dict, the content of a checkpoint file, or a lazy mapping of tensors.
        label: name of the network, for messages.
        key: which state dict to read; see `open_checkpoint`.
        expected_names: names of the tensors of the architecture; see `open_checkpoint`.

    Raises:
        OneBasinError: the mapping holds no tensors, or no state dict with this key.

    Example:
        >>> import torch
        >>> list(open_mapping({"state_dict": {"module.w": torch.zeros(2)}}, "a"))
        ['w']
    """
    if callable(getattr(content, "metadata", None)) and key is None:
        source = MemorySource(content, label)
    else:
        try:
            selected = select_state_dict(dict(content), key)
        except OneBasinError as error:
            raise OneBasinError(f"{label}: {error}") from error
        source = MemorySource(selected.tensors, label, selected.notes)
    return MemoryCheckpoint(Path(label), source, expected_names)
