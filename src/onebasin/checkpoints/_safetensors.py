"""Safetensors files: tensors are read on access, and written one at a time."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from onebasin._dtypes import dtype_name
from onebasin.checkpoints._diagnosis import unreadable
from onebasin.checkpoints._lazy import SAFETENSORS_CODES, SAFETENSORS_DTYPES, TensorInfo
from onebasin.errors import OneBasinError


class SafetensorsFile:
    """A memory-mapped safetensors file.

    Args:
        path: an existing file.

    Raises:
        OneBasinError: the file is truncated, corrupt or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = (path,)
        try:
            self._file = safe_open(path, framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            raise unreadable(path, "safetensors file", error) from error
        self._infos = {name: self._describe(name) for name in self._file.keys()}

    def _describe(self, name: str) -> TensorInfo:
        entry = self._file.get_slice(name)
        code = entry.get_dtype()
        if code not in SAFETENSORS_DTYPES:
            raise OneBasinError(
                f"{self.path}: tensor {name!r} has dtype {code}, which torch cannot hold as a "
                "plain tensor; save the checkpoint in bfloat16 or float32"
            )
        return TensorInfo(tuple(entry.get_shape()), SAFETENSORS_DTYPES[code])

    def names(self) -> tuple[str, ...]:
        """Return the names of the tensors, in the order of the header."""
        return tuple(self._infos)

    def info(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor from the header."""
        return self._infos[name]

    def read(self, name: str) -> Tensor:
        """Return a tensor in the memory map."""
        try:
            return self._file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise unreadable(self.path, "safetensors file", error) from error

    def close(self) -> None:
        """Close the file; tensors that were read remain valid."""
        self._file.__exit__(None, None, None)


_ALIGNMENT = 8


class SafetensorsWriter:
    """Writes the header first, then each tensor at its offset in the file.

    Layout of the file: the header's length as 8 bytes, little-endian; the header, JSON
    padded with spaces to a multiple of 8; the data without gaps, widest dtypes first, so
    that every tensor is aligned to its own element size.

    Args:
        file: a seekable file, open for writing in binary mode.
        specs: shape and dtype of every tensor by name.
        metadata: texts for the header.

    Raises:
        OneBasinError: the format does not support the dtype of a tensor.
    """

    def __init__(
        self, file: BinaryIO, specs: Mapping[str, TensorInfo], metadata: Mapping[str, str]
    ) -> None:
        self._file = file
        self._specs = specs
        self.order = sorted(specs, key=lambda name: -specs[name].dtype.itemsize)
        header, self._starts = _header(self.order, specs, metadata)
        file.write(len(header).to_bytes(8, "little") + header)
        self._pending = set(specs)

    def write(self, name: str, tensor: Tensor) -> None:
        """Write one tensor at its offset.

        Args:
            name: name of a tensor that was not written before.
            tensor: tensor of the specified shape and dtype, on any device.
        """
        assert name in self._pending, f"{name!r} written twice or never announced"
        actual, announced = TensorInfo.of(tensor), self._specs[name]
        assert actual == announced, f"{name!r} announced as {announced} but written as {actual}"
        self._pending.remove(name)
        self._file.seek(self._starts[name])
        self._file.write(tensor_bytes(tensor))

    def finish(self) -> None:
        """Check that every specified tensor was written."""
        assert not self._pending, f"never written: {sorted(self._pending)[:3]}"
        self._file.flush()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """Return the elements of a tensor as bytes, in row-major order.

    Args:
        tensor: dense tensor of any dtype, on any device.

    Returns:
        The bytes; a view of a contiguous tensor on the CPU, otherwise a copy.
    """
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data


def _header(
    order: list[str], specs: Mapping[str, TensorInfo], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    offsets: dict[str, int] = {}
    position = 0
    for name in order:
        info = specs[name]
        if info.dtype not in SAFETENSORS_CODES:
            raise OneBasinError(
                f"tensor {name!r} is {dtype_name(info.dtype)}, which safetensors cannot hold; "
                "write to a .pt file instead"
            )
        offsets[name] = position
        position += info.nbytes
        entries[name] = {
            "dtype": SAFETENSORS_CODES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [offsets[name], position],
        }
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    return header, {name: 8 + len(header) + offset for name, offset in offsets.items()}
