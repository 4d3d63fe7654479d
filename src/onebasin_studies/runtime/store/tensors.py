"""Tensors as safetensors: conversion of mappings to bytes, and lazy reading."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onebasin.errors import OneBasinError


def encode_tensors(tensors: Mapping[str, Any]) -> bytes:
    """Return tensors as a safetensors file; equal tensors give equal bytes."""
    import torch
    from safetensors.torch import save

    # Copied, because the format does not support tied, expanded or noncontiguous tensors.
    form = torch.contiguous_format
    whole = {name: tensors[name].detach().cpu() for name in sorted(tensors)}
    return save({name: tensor.clone(memory_format=form) for name, tensor in whole.items()})


class StoredTensors(Mapping[str, Any]):
    """The tensors of a safetensors file, read lazily.

    Args:
        path: an existing file.
        scratch: a temporary folder that is deleted with this object.

    Raises:
        OneBasinError: if the file is truncated, corrupt or of another format.
    """

    def __init__(self, path: Path, scratch: Path | None = None) -> None:
        from safetensors import SafetensorError, safe_open

        if scratch is not None:
            weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        try:
            self._file = safe_open(path, framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise OneBasinError(f"{path}: no whole safetensors file ({error})") from error
        self._names = dict.fromkeys(self._file.keys())

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
