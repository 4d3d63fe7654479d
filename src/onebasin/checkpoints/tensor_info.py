"""Shape and dtype of unread tensors, and the dtype codes of safetensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from onebasin._checks import check_tensor

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
    def of(cls, tensor: Tensor) -> "TensorInfo":
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
