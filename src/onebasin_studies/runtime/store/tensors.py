"""Tensors as safetensors: mappings of tensors to bytes, and read from a file one by one."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onebasin.errors import OneBasinError


def encode_tensors(tensors: Mapping[str, Any]) -> bytes:
    """Return tensors as a safetensors file: names sorted, so equal ones give equal bytes."""
    import torch
    from safetensors.torch import save

    # Copies, as tied or expanded tensors share memory, which the format cannot hold; and it
    # holds only tensors whose elements lie in order.
    form = torch.contiguous_format
    whole = {name: tensors[name].detach().cpu() for name in sorted(tensors)}
    return save({name: tensor.clone(memory_format=form) for name, tensor in whole.items()})


class StoredTensors(Mapping[str, Any]):
    """The tensors of a safetensors file, each read when it is asked for.

    Args:
        path: an existing file.
        scratch: a folder that is removed with its last user, this one.

    Raises:
        OneBasinError: when the file is truncated, corrupt or of another format.
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
