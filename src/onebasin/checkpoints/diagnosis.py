"""Why a checkpoint file cannot be read, judged from its first bytes."""

from pathlib import Path

from onebasin.checkpoints.messages import one_line
from onebasin.errors import OneBasinError

TORCH_SAVE = "file of torch.save"
ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
_LFS_MAGIC = b"version https://git-lfs"


def first_bytes(path: Path, count: int = 32) -> bytes:
    """Read the start of a file.

    Args:
        path: An existing file.
        count: How many bytes to read at most.

    Returns:
        The bytes, fewer than `count` where the file is shorter.

    Raises:
        OneBasinError: The operating system refuses to read the file.
    """
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise OneBasinError(f"{path}: cannot be read ({error.strerror})") from error


def unreadable(path: Path, kind: str, error: BaseException) -> OneBasinError:
    """Say what is wrong with a file that its reader refused.

    Args:
        path: The file.
        kind: What it was taken for, such as `safetensors file`.
        error: What the reader raised.

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
        # What torch says here is about its own internals.
        return OneBasinError(
            f"{path}: is not a complete checkpoint (truncated, corrupt or not a {kind}); copy or "
            "download it again"
        )
    return OneBasinError(
        f"{path}: truncated, corrupt or not a {kind} ({one_line(error)}); copy or download it again"
    )
