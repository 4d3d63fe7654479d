"""Opens checkpoints of every supported form as one lazy mapping of names to tensors."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from torch import Tensor

from onebasin.checkpoints.pickles import PickleFile
from onebasin.checkpoints.safetensors_file import SafetensorsFile
from onebasin.checkpoints.shards import ShardedFiles, TensorSource
from onebasin.checkpoints.tensor_info import TensorInfo
from onebasin.errors import OneBasinError

PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".th", ".ckpt")
INDEX_SUFFIX = ".index.json"
FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")


class Checkpoint(Mapping[str, Tensor]):
    """A lazy, read-only mapping of tensor names to the tensors of a file or folder.

    Every access reads the tensor anew from the memory map; nothing is cached here. Two
    accesses may share memory, so take the tensors as read-only. Tensors stay valid after
    the checkpoint is closed. `open_checkpoint` makes one.

    Args:
        path: The path as the user gave it; error texts name it.
        source: The open file or files.
        expected_names: Names the caller hopes for; see `open_checkpoint`.

    Raises:
        OneBasinError: There is no tensor at all.
    """

    def __init__(
        self, path: Path, source: TensorSource, expected_names: Collection[str] | None = None
    ) -> None:
        self.path = path
        self._source = source
        self._raw_names = _clean_names(source.names(), expected_names)
        if not self._raw_names:
            raise OneBasinError(f"{path}: holds no tensors; save a model's state dict there")

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the checkpoint is read from, the index included."""
        return self._source.files

    @property
    def folder(self) -> Path | None:
        """The folder that was opened, directly or by its index; None for a single file."""
        is_index = self.path.name.endswith(INDEX_SUFFIX)
        return self.path.parent if is_index else self.path if os.path.isdir(self.path) else None

    def metadata(self, name: str) -> TensorInfo:
        """Describe a tensor without reading its elements.

        Args:
            name: One of the names of this mapping.

        Returns:
            Its shape, dtype and size in bytes.

        Raises:
            KeyError: There is no such tensor.
        """
        return self._source.info(self._raw_names[name])

    def as_stored(self, pairs: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
        """Give tensors the names and the cut that a file of this kind stores.

        Args:
            pairs: Names of this mapping with tensors, in any order.

        Returns:
            The same here; `ConvertedCheckpoint` renames and splits.
        """
        return pairs

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same object; `is_same_checkpoint` compares tensors."""
        return self is other

    def __hash__(self) -> int:
        """Hash by identity, as `==` compares."""
        return id(self)

    def __getitem__(self, name: str) -> Tensor:
        return self._source.read(self._raw_names[name])

    def __contains__(self, name: object) -> bool:
        return name in self._raw_names

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw_names)

    def __len__(self) -> int:
        return len(self._raw_names)

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, {len(self)} tensors)"

    def close(self) -> None:
        """Let go of the files; afterwards no further tensor can be read."""
        self._source.close()

    def __enter__(self) -> "Checkpoint":
        """Return the checkpoint itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_checkpoint(
    path: str | os.PathLike[str], *, expected_names: Collection[str] | None = None
) -> Checkpoint:
    """Open a checkpoint without reading its tensors.

    Accepted are `.safetensors` files; files of torch.save (`.pt`, `.pth`, `.bin`, `.th`,
    `.ckpt`), which are never allowed to run code; `*.index.json` files and the folders that
    hold one, or a `model.safetensors` or `pytorch_model.bin`. A state dict under the key
    `state_dict`, `model_state_dict` or `model` is unwrapped, and the prefixes `module.` and
    `_orig_mod.` are stripped where all names share them.

    Args:
        path: File or folder.
        expected_names: Names of the architecture's tensors. With them a prefix is stripped
            only where that finds more of them, so a model whose only child is called
            `module` keeps its names.

    Returns:
        The lazy mapping, which is also a context manager.

    Raises:
        OneBasinError: The path is missing, of an unknown form, damaged, holds something
            other than plain named tensors, or nothing.
    """
    shown = Path(path)
    return Checkpoint(shown, _open_source(_locate(shown)), expected_names)


def _locate(path: Path) -> Path:
    """Find the file to open for a path that may be a folder."""
    if os.path.isdir(path):
        found = next((path / n for n in FOLDER_FILES if os.path.isfile(path / n)), None)
        if found is None:
            raise OneBasinError(
                f"{path}: the folder holds no checkpoint; expected one of "
                f"{', '.join(FOLDER_FILES)}, or give the path of a file"
            )
        return found
    if not os.path.exists(path):
        raise OneBasinError(f"{path}: no such file or folder; check the path")
    return path


def _open_source(path: Path) -> TensorSource:
    if path.name.endswith(INDEX_SUFFIX):
        return ShardedFiles(path, _open_file)
    return _open_file(path)


def _open_file(path: Path) -> TensorSource:
    if path.suffix == ".safetensors":
        return SafetensorsFile(path)
    if path.suffix in PICKLE_SUFFIXES:
        return PickleFile(path)
    raise OneBasinError(
        f"{path}: unknown kind of checkpoint {path.suffix!r}; expected .safetensors, "
        f"{', '.join(PICKLE_SUFFIXES)}, *{INDEX_SUFFIX} or a folder with one of these"
    )


def _clean_names(names: Collection[str], expected: Collection[str] | None) -> dict[str, str]:
    """Map the names without shared wrapper prefixes to the names in the file."""
    candidates = [{name: name for name in names}]
    while (prefix := _shared_prefix(candidates[-1])) is not None:
        candidates.append({k.removeprefix(prefix): v for k, v in candidates[-1].items()})
    if expected is None:
        return candidates[-1]
    wanted = set(expected)
    return max(reversed(candidates), key=lambda candidate: len(wanted & candidate.keys()))


def _shared_prefix(names: Collection[str]) -> str | None:
    for prefix in _WRAPPER_PREFIXES:
        if names and all(name.startswith(prefix) and name != prefix for name in names):
            return prefix
    return None
