"""Files of torch.save, read as plain tensors without executing their code."""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from onebasin.checkpoints._diagnosis import TORCH_SAVE, ZIP_MAGIC, first_bytes, unreadable
from onebasin.checkpoints._inert import UnsafeGlobalError, load_inert
from onebasin.checkpoints._lazy import TensorInfo
from onebasin.checkpoints._state_dicts import select_state_dict
from onebasin.errors import OneBasinError

_REMEDY = "save plain tensors with torch.save(model.state_dict(), path)"
_REFUSED = re.compile(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S+)")
_MAX_OVERLAP = 1 << 26


class PickleFile:
    """A file of torch.save, memory-mapped if its format allows it.

    A file from before PyTorch 1.6 is not a zip archive and is read into memory.

    Args:
        path: an existing file.
        key: which state dict of the file to read; see `select_state_dict`.

    Raises:
        OneBasinError: the file is damaged, or has other content than named plain tensors.
    """

    def __init__(self, path: Path, key: str | None = None) -> None:
        self.path = path
        self.files = (path,)
        content = _load(path)
        try:
            selected = select_state_dict(content, key)
        except OneBasinError as error:
            raise OneBasinError(f"{path}: {error}") from error
        self.notes = selected.notes
        self._tensors = {
            name: _plain_tensor(name, value, path) for name, value in selected.tensors.items()
        }

    def names(self) -> tuple[str, ...]:
        """Return the names of the tensors, in the order of the file."""
        return tuple(self._tensors)

    def info(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor without reading its elements."""
        return TensorInfo.of(self._tensors[name])

    def read(self, name: str) -> Tensor:
        """Return a tensor in the memory map."""
        return self._tensors[name]

    def close(self) -> None:
        """Close the file; tensors that were read remain valid."""
        self._tensors = {}


def _load(path: Path) -> Any:
    is_zip = first_bytes(path, 4) == ZIP_MAGIC
    if is_zip:
        _check_stored(path)
    try:
        return load_inert(path, mmap=is_zip)
    except UnsafeGlobalError as error:
        raise _refused(path, error.name, is_zip) from error
    except MemoryError as error:
        raise OneBasinError(f"{path}: reading it takes more memory than is available") from error
    # The legacy unpickler reports damage as EOFError, IndexError, KeyError, struct.error
    # and others, so every other exception counts as damage.
    except Exception as error:
        raise _explain(path, error, is_zip) from error


def _check_stored(path: Path) -> None:
    """Check that no record is compressed: a small file could unpack to any size."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise unreadable(path, TORCH_SAVE, error) from error
    if any(record.filename.endswith("/constants.pkl") for record in records):
        raise OneBasinError(f"{path}: a TorchScript archive, not a state dict; {_REMEDY}")
    compressed = [record.filename for record in records if record.compress_type]
    if compressed:
        raise OneBasinError(
            f"{path}: a compressed zip archive (record {compressed[0]!r}), which torch.save "
            "does not write; unpack it, or save the checkpoint again"
        )


def _explain(path: Path, error: Exception, is_zip: bool) -> OneBasinError:
    text = str(error)
    if "persistent_load of storage" in text and not is_zip:
        return OneBasinError(f"{path}: holds a pickled module in an old format; {_REMEDY}")
    refused = _REFUSED.search(text)
    if refused is None:
        return unreadable(path, TORCH_SAVE, error)
    return _refused(path, refused.group(1), is_zip)


def _refused(path: Path, name: str, is_zip: bool) -> OneBasinError:
    # A file of the old format may also end in the middle of a harmless name.
    damage = "" if is_zip else ", or is cut short"
    return OneBasinError(
        f"{path}: holds a pickled {name}, not only tensors{damage}; loading it could run code, "
        f"so {_REMEDY}"
    )


def _plain_tensor(name: str, value: Tensor, path: Path) -> Tensor:
    kind = _unusual_kind(value)
    if kind is not None:
        raise OneBasinError(
            f"{path}: tensor {name!r} is {kind}; convert it to a dense floating-point tensor "
            "and save the checkpoint again"
        )
    return value.detach()


def _unusual_kind(tensor: Tensor) -> str | None:
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_meta:
        return "on the meta device, so without values"
    if type(tensor) not in (Tensor, Parameter):
        return f"a {type(tensor).__name__}"
    if tensor.nbytes > max(_MAX_OVERLAP, tensor.untyped_storage().nbytes()):
        return "an expanded view of fewer elements"
    return None
