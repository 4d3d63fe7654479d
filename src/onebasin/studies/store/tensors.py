"""Tensors as safetensors: mappings of tensors to bytes, and read from a file one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onebasin.errors import OneBasinError


def encode_tensors(tensors: Mapping[str, Any]) -> bytes:
    """Return tensors as a safetensors file: names sorted, so equal ones give equal bytes."""
    from safetensors.torch import save

    # Copies, as tied or expanded tensors share memory, which the format cannot hold.
    return save({name: tensors[name].detach().cpu().clone() for name in sorted(tensors)})


class StoredTensors(Mapping[str, Any]):
    """The tensors of a safetensors file, each read when it is asked for.

    Args:
        path: an existing file.
        keep: kept alive as long as this is, for a folder that is removed with its last user.

    Raises:
        OneBasinError: when the file is truncated, corrupt or of another format.
    """

    def __init__(self, path: Path, keep: object = None) -> None:
        from safetensors import SafetensorError, safe_open

        self._keep = keep
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
