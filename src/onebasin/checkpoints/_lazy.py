"""Lazy mappings of tensors, and the shapes and dtypes of tensors that are not read."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from onebasin._checks import check_tensor


class LazyMapping(Mapping[str, Tensor]):
    """Tensors by name; only `mapping[name]` reads or computes one.

    Args:
        names: names of the tensors, in order.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    @abstractmethod
    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without computing it."""

    def __contains__(self, name: object) -> bool:
        """Return whether there is a tensor of that name, without computing it."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._names)


SAFETENSORS_DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
"""The codes that a safetensors header uses for the dtypes of torch."""

SAFETENSORS_CODES: dict[torch.dtype, str] = {v: k for k, v in SAFETENSORS_DTYPES.items()}
"""The inverse of `SAFETENSORS_DTYPES`."""


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of a tensor.

    Args:
        shape: size of every dimension.
        dtype: dtype of the elements.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Size of the elements in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, tensor: Tensor) -> TensorInfo:
        """Return the shape and dtype of a tensor."""
        return cls(tuple(tensor.shape), tensor.dtype)


def describe(params: Mapping[str, Tensor], name: str) -> TensorInfo:
    """Return the shape and dtype of a tensor of a mapping, without reading it if possible.

    Args:
        params: a `Checkpoint`, another lazy mapping with a `metadata` method, or a dict.
        name: name of the tensor.

    Returns:
        Shape and dtype.

    Raises:
        OneBasinError: the value is not a tensor.
    """
    metadata = getattr(params, "metadata", None)
    if callable(metadata):
        info = metadata(name)
        assert isinstance(info, TensorInfo)
        return info
    tensor = params[name]
    check_tensor(f"tensor {name!r}", tensor)
    return TensorInfo.of(tensor)


def label_of(params: Mapping[str, Tensor]) -> str:
    """Return a name of a mapping for messages: the path of a checkpoint, or a description."""
    return str(getattr(params, "path", None) or "the parameters")
