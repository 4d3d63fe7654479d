"""Checkpoints of every supported format as lazy mappings of names to tensors."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType

from torch import Tensor

from onebasin._files import check_regular_file
from onebasin.checkpoints._diagnosis import (
    ZIP_MAGIC,
    check_known_file,
    check_known_folder,
    first_bytes,
)
from onebasin.checkpoints._lazy import LazyMapping, TensorInfo
from onebasin.checkpoints._pickles import PickleFile
from onebasin.checkpoints._safetensors import SafetensorsFile
from onebasin.checkpoints._shards import ShardedFiles, TensorSource
from onebasin.checkpoints._state_dicts import DEFAULT_KEY, with_prefix
from onebasin.checkpoints._tensor_names import clean_names
from onebasin.errors import OneBasinError

PICKLE_SUFFIXES = (
    ".pt",
    ".pth",
    ".bin",
    ".th",
    ".ckpt",
    ".tar",
    ".checkpoint",
    ".model",
    ".weights",
)
INDEX_NAME = "index.json"
INDEX_SUFFIX = f".{INDEX_NAME}"
FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


class Checkpoint(LazyMapping):
    """A lazy, read-only mapping of tensor names to the tensors of a file or folder.

    Every access reads the tensor from the memory map; nothing is cached. Two accesses may
    share memory, so tensors are read-only. Tensors remain valid after the checkpoint is
    closed. `open_checkpoint` returns one.

    Args:
        path: path as given by the user, for messages.
        source: the open file or files.
        expected_names: names of the tensors of the architecture; see `open_checkpoint`.
        prefix: prefix of the names to read; it is removed together with its dot.

    Raises:
        OneBasinError: there are no tensors.
    """

    def __init__(
        self,
        path: Path,
        source: TensorSource,
        expected_names: Collection[str] | None = None,
        *,
        prefix: str | None = None,
    ) -> None:
        self.path = path
        self._source = source
        stored = {name: name for name in source.names()}
        if prefix is not None:
            stored = with_prefix(stored, prefix)
        if not stored:
            raise OneBasinError(f"{path}: {_no_tensors(prefix)}")
        renaming = clean_names(stored, expected_names)
        self._raw_names = {name: stored[raw] for name, raw in renaming.stored.items()}
        super().__init__(self._raw_names)
        self.notes = (*getattr(source, "notes", ()), *renaming.notes)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the checkpoint, including the index."""
        return self._source.files

    @property
    def folder(self) -> Path | None:
        """The folder of the checkpoint; None for a single file."""
        is_index = self.path.name.endswith(INDEX_SUFFIX)
        return self.path.parent if is_index else self.path if os.path.isdir(self.path) else None

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor without reading its elements.

        Args:
            name: name of the tensor.

        Returns:
            Its shape, dtype and size in bytes.

        Raises:
            KeyError: the name is unknown.
        """
        return self._source.info(self._raw_names[name])

    def as_stored(self, pairs: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
        """Return tensors with the names and shapes of the file.

        Args:
            pairs: names of this mapping with tensors, in any order.

        Returns:
            The same pairs; `ConvertedCheckpoint` renames and splits tensors.
        """
        return pairs

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same object; `is_same_checkpoint` compares tensors."""
        return self is other

    def __hash__(self) -> int:
        """Hash by identity, as `==` compares."""
        return id(self)

    def __getitem__(self, name: str) -> Tensor:
        return self._source.read(self._raw_names[name])

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, {len(self)} tensors)"

    def close(self) -> None:
        """Close the files; afterwards tensors cannot be read."""
        self._source.close()

    def __enter__(self) -> "Checkpoint":
        """Return the checkpoint itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_checkpoint(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    expected_names: Collection[str] | None = None,
) -> Checkpoint:
    """Return an open checkpoint; tensors are read on access.

    Accepted are `.safetensors` files; files of torch.save (`.pt`, `.pth`, `.ckpt`,
    `.pth.tar` and others), whose code never runs; `*.index.json` files; and folders with
    one of these. Options, configurations and other objects in a file are ignored.

    Of a file with training state, the state dict of the model is read: the value of
    `state_dict`, `model_state_dict`, `model`, `net` or another usual key. Names are read
    without the prefixes of wrappers such as DataParallel and `torch.compile`.
    `Checkpoint.notes` describes the selection and the renaming.

    Args:
        path: a file or folder.
        key: which state dict of a file to read, such as `model_ema` or
            `state_dict.encoder`. The last part may be a prefix of the names. Default: the
            state dict of the model.
        expected_names: names of the architecture's tensors. A prefix that all names share is
            removed or added if more names then match.

    Returns:
        The lazy mapping, which is also a context manager.

    Raises:
        OneBasinError: the path is missing, of an unknown format or damaged, or it does not
            hold named plain tensors.
    """
    given_path = Path(path)
    key = None if key == DEFAULT_KEY else key
    source = _open_source(_locate(given_path), key)
    prefix = None if isinstance(source, PickleFile) else key
    return Checkpoint(given_path, source, expected_names, prefix=prefix)


def _no_tensors(prefix: str | None) -> str:
    if prefix is None:
        return "holds no tensors; save a model's state dict there"
    return f"no tensor name begins with {prefix + '.'!r}; correct key= or remove it"


def _locate(path: Path) -> Path:
    """Return the file to open for a path, which may be a folder."""
    if not os.path.isdir(path):
        if not os.path.lexists(path):
            raise OneBasinError(f"{path}: no such file or folder; check the path")
        check_regular_file(path)
        return path
    present = [name for name in FOLDER_FILES if os.path.isfile(path / name)]
    if not present:
        check_known_folder(path)
        raise OneBasinError(
            f"{path}: the folder holds no checkpoint; expected one of "
            f"{', '.join(FOLDER_FILES)}, or give the path of a file"
        )
    # Either the single file or the shards are a leftover; the files do not show which.
    if f"{present[0]}.{INDEX_NAME}" in present:
        raise OneBasinError(
            f"{path}: holds both {present[0]} and {present[0]}.{INDEX_NAME}; give the path of "
            "the one to read, or remove the other"
        )
    return path / present[0]


def _open_source(path: Path, key: str | None) -> TensorSource:
    if path.name.endswith(INDEX_SUFFIX):
        return ShardedFiles(path, _open_file)
    return _open_file(path, key)


def _open_file(path: Path, key: str | None = None) -> TensorSource:
    check_regular_file(path)
    if path.suffix == ".safetensors":
        return SafetensorsFile(path)
    if path.suffix in PICKLE_SUFFIXES:
        return PickleFile(path, key)
    # For an unknown suffix, the content decides.
    start = first_bytes(path)
    if start.startswith(ZIP_MAGIC):
        return PickleFile(path, key)
    if start[8:10] == b'{"':
        return SafetensorsFile(path)
    check_known_file(path)
    raise OneBasinError(
        f"{path}: unknown kind of checkpoint {path.suffix!r}; expected .safetensors, "
        f"{', '.join(PICKLE_SUFFIXES)}, *{INDEX_SUFFIX} or a folder with one of these"
    )
