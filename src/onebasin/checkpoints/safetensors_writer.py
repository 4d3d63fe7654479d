"""Writer of a safetensors file, with one tensor in memory at a time."""

import json
from collections.abc import Mapping
from typing import BinaryIO

import torch
from torch import Tensor

from onebasin._dtypes import dtype_name
from onebasin.checkpoints.tensor_info import SAFETENSORS_CODES, TensorInfo
from onebasin.errors import OneBasinError

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
