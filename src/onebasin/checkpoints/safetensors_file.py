"""Safetensors files: the header is read on opening, tensors on access."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from onebasin.checkpoints.diagnosis import unreadable
from onebasin.checkpoints.tensor_info import SAFETENSORS_DTYPES, TensorInfo
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
