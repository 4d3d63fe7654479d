"""Reads files of torch.save, as plain tensors only: nothing in them is ever executed."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onebasin.checkpoints.diagnosis import TORCH_SAVE, ZIP_MAGIC, first_bytes, unreadable
from onebasin.checkpoints.tensor_info import TensorInfo
from onebasin.errors import OneBasinError

WRAPPERS = ("state_dict", "model_state_dict", "model")
_REMEDY = "save plain tensors with torch.save(model.state_dict(), path)"
_REFUSED = re.compile(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S+)")


class PickleFile:
    """One file of torch.save, memory-mapped where its format allows.

    A file older than PyTorch 1.6 is no zip archive and is read into memory whole.

    Args:
        path: An existing file.

    Raises:
        OneBasinError: The file is damaged, or holds anything but named plain tensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = (path,)
        self._tensors = _plain_tensors(_unwrap(_load(path)), path)

    def names(self) -> tuple[str, ...]:
        """List the tensors, in the order of the file."""
        return tuple(self._tensors)

    def info(self, name: str) -> TensorInfo:
        """Describe a tensor without touching its elements."""
        return TensorInfo.of(self._tensors[name])

    def read(self, name: str) -> Tensor:
        """Return a tensor that lies in the memory map."""
        return self._tensors[name]

    def close(self) -> None:
        """Let go of the file; tensors that were read stay valid."""
        self._tensors = {}


def _load(path: Path) -> Any:
    is_zip = first_bytes(path, 4) == ZIP_MAGIC
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    # The legacy unpickler meets damage with EOFError, IndexError, KeyError, struct.error
    # and more, so everything short of running out of memory is taken for damage.
    except MemoryError:
        raise
    except Exception as error:
        raise _explain(path, error) from error


def _explain(path: Path, error: Exception) -> OneBasinError:
    text = str(error)
    if "TorchScript" in text:
        return OneBasinError(f"{path}: a TorchScript archive, not a state dict; {_REMEDY}")
    refused = _REFUSED.search(text)
    if refused is None:
        return unreadable(path, TORCH_SAVE, error)
    # A file of the old format may also be cut off in the middle of a harmless name.
    damage = "" if first_bytes(path, 4) == ZIP_MAGIC else ", or is cut short"
    return OneBasinError(
        f"{path}: holds a pickled {refused.group(1)}, not only tensors{damage}; loading it "
        f"could run code, so {_REMEDY}"
    )


def _unwrap(content: Any) -> Any:
    """Descend into `{"state_dict": {...}, "epoch": 3}` and the like, however often nested."""
    while isinstance(content, Mapping):
        inner = next((content[k] for k in WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            return content
        content = inner
    return content


def _plain_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise OneBasinError(
            f"{path}: holds {type(content).__name__}, not a mapping of names to tensors; {_REMEDY}"
        )
    return {name: _plain_tensor(name, value, path) for name, value in content.items()}


def _plain_tensor(name: Any, value: Any, path: Path) -> Tensor:
    if not isinstance(name, str) or not isinstance(value, Tensor):
        raise OneBasinError(
            f"{path}: entry {name!r} is of type {type(value).__name__}, not a named tensor; "
            f"{_REMEDY}, or put the state dict under one of the keys {', '.join(WRAPPERS)}"
        )
    kind = _unusual_kind(value)
    if kind is not None:
        raise OneBasinError(
            f"{path}: tensor {name!r} is {kind}; convert it to a dense floating-point tensor "
            "and save the checkpoint again"
        )
    return value.detach()


def _unusual_kind(tensor: Tensor) -> str | None:
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_meta:
        return "on the meta device, so without values"
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        return f"a {type(tensor).__name__}"
    return None
