"""Errors for files that cannot be read: damaged files, and formats of other tools."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from onebasin._text import one_line
from onebasin.errors import OneBasinError

TORCH_SAVE = "file of torch.save"
ZIP_MAGIC = b"PK\x03\x04"
MAX_HEADER_SIZE = 100_000_000
"""Largest header of a safetensors file, in bytes."""
_PICKLE_MAGIC = b"\x80"
_LFS_MAGIC = b"version https://git-lfs"


def first_bytes(path: Path, count: int = 32) -> bytes:
    """Return the first bytes of a file.

    Args:
        path: an existing file.
        count: largest number of bytes.

    Returns:
        The bytes; fewer than `count` if the file is shorter.

    Raises:
        OneBasinError: the operating system cannot read the file.
    """
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise OneBasinError(f"{path}: cannot be read ({error.strerror})") from error


def is_checkpoint_start(start: bytes) -> bool:
    """Return whether a file is a checkpoint, by its first bytes."""
    header_size = int.from_bytes(start[:8], "little")
    is_safetensors = start[8:9] == b"{" and header_size <= MAX_HEADER_SIZE
    return is_safetensors or start.startswith((ZIP_MAGIC, _PICKLE_MAGIC))


def is_json_start(start: bytes) -> bool:
    """Return whether a file is a JSON object, by its first bytes."""
    return start.lstrip().startswith(b"{")


def unreadable(path: Path, kind: str, error: BaseException) -> OneBasinError:
    """Return the error for a file that its reader cannot read.

    Args:
        path: the file.
        kind: the expected format, such as `safetensors file`.
        error: the exception of the reader.

    Returns:
        The error to raise, naming the file and the remedy.
    """
    start = first_bytes(path)
    if not start:
        return OneBasinError(f"{path}: the file is empty; copy or download it again")
    if start.startswith(_LFS_MAGIC):
        return OneBasinError(
            f"{path}: a Git LFS pointer, not the checkpoint itself; fetch it with 'git lfs pull'"
        )
    if kind == "safetensors file" and start.startswith((ZIP_MAGIC, _PICKLE_MAGIC)):
        return OneBasinError(
            f"{path}: written by torch.save, not a safetensors file; rename it to end in .pt"
        )
    if kind != "safetensors file" and start[8:10] == b'{"':
        return OneBasinError(
            f"{path}: a safetensors file by its content; rename it to end in .safetensors"
        )
    if kind == TORCH_SAVE:
        # The text of torch describes its internals.
        return OneBasinError(
            f"{path}: is not a complete checkpoint (truncated, corrupt or not a {kind}); copy or "
            "download it again"
        )
    return OneBasinError(
        f"{path}: truncated, corrupt or not a {kind} ({one_line(error)}); copy or download it again"
    )


_WEIGHTS = "use the PyTorch weights of the same model (model.safetensors)"
_SUFFIXES = {
    ".gguf": "is a GGUF file, whose weights are quantized for llama.cpp; use the original "
    "checkpoint that it was converted from",
    ".ggml": "is a GGML file of llama.cpp; use the original checkpoint that it was converted from",
    ".h5": f"holds TensorFlow weights; {_WEIGHTS}",
    ".keras": f"holds a Keras model; {_WEIGHTS}",
    ".pb": f"holds a TensorFlow graph; {_WEIGHTS}",
    ".tflite": f"holds a TensorFlow Lite model; {_WEIGHTS}",
    ".msgpack": f"holds Flax weights; {_WEIGHTS}",
    ".onnx": "holds an ONNX graph; use the PyTorch checkpoint that it was exported from",
}


def check_known_file(path: str | os.PathLike[str]) -> None:
    """Check that a file is not of another tool, which its suffix shows.

    Args:
        path: a file.

    Raises:
        OneBasinError: the file is of another tool; the message has its format and the remedy.
    """
    problem = _SUFFIXES.get(Path(path).suffix.lower())
    if problem is not None:
        raise OneBasinError(f"{path}: unknown kind of checkpoint; the file {problem}")


def check_known_folder(folder: str | os.PathLike[str]) -> None:
    """Check that a folder without a checkpoint is not of another tool.

    Args:
        folder: an existing folder.

    Raises:
        OneBasinError: the folder is of another tool; the message has the remedy.
    """
    names = _names_in(folder)
    if "adapter_config.json" in names:
        raise OneBasinError(
            f"{folder}: holds a PEFT adapter, not a whole model; merge it into its base model "
            "first: PeftModel.from_pretrained(base_model, folder).merge_and_unload()"
            ".save_pretrained(merged_folder)"
        )
    if "model_index.json" in names:
        raise OneBasinError(
            f"{folder}: holds a diffusers pipeline of several models; give the file of one model, "
            f"such as {Path(folder, 'unet', 'diffusion_pytorch_model.safetensors')}, and as ARCH "
            "package.module:callable that builds this model"
        )
    for name in sorted(names):
        if (problem := _SUFFIXES.get(Path(name).suffix.lower())) is not None:
            raise OneBasinError(f"{folder}: holds no PyTorch checkpoint; the file {name} {problem}")


def _names_in(folder: str | os.PathLike[str]) -> Iterable[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise OneBasinError(f"{folder}: cannot be read ({error.strerror})") from error
