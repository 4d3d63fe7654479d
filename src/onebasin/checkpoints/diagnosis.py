"""Reasons why a checkpoint file cannot be read, from its first bytes."""

from pathlib import Path

from onebasin.checkpoints.messages import one_line
from onebasin.errors import OneBasinError

TORCH_SAVE = "file of torch.save"
ZIP_MAGIC = b"PK\x03\x04"
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
