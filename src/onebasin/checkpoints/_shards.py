"""Checkpoints in several files with an index, as transformers writes them."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from onebasin._files import read_json
from onebasin._text import counted, one_line, some_names
from onebasin.checkpoints._lazy import TensorInfo
from onebasin.errors import OneBasinError


@runtime_checkable
class TensorSource(Protocol):
    """The interface of a file format for `Checkpoint`."""

    @property
    def path(self) -> Path:
        """The path that was opened."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return the names of the tensors."""
        ...

    def info(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor without reading it."""
        ...

    def read(self, name: str) -> Tensor:
        """Return a tensor."""
        ...

    def close(self) -> None:
        """Close the files."""
        ...


class ShardedFiles:
    """The files of an index, opened together.

    Args:
        path: the index: a JSON file with a `weight_map` of tensor name to file name.
        open_file: function that opens one of the files.

    Raises:
        OneBasinError: the index is invalid, or names a missing file or tensor.
    """

    def __init__(self, path: Path, open_file: Callable[[Path], TensorSource]) -> None:
        self.path = path
        weight_map = _read_weight_map(path)
        self._shards: dict[str, TensorSource] = {}
        try:
            for shard in sorted(set(weight_map.values())):
                self._shards[shard] = open_file(_existing_shard(path, shard))
            self._shard_of = {name: self._shards[shard] for name, shard in weight_map.items()}
            self._check_tensors(weight_map)
        except BaseException:
            self.close()
            raise
        self.files = (path, *(file for shard in self._shards.values() for file in shard.files))

    def _check_tensors(self, weight_map: dict[str, str]) -> None:
        held = {shard: set(source.names()) for shard, source in self._shards.items()}
        missing = [name for name, shard in weight_map.items() if name not in held[shard]]
        if missing:
            raise OneBasinError(
                f"{self.path}: {counted(len(missing), 'tensor')} ({some_names(missing)}) not in "
                f"the file the index names, {weight_map[missing[0]]}; "
                "download the folder again, index and shards together"
            )

    def names(self) -> tuple[str, ...]:
        """Return the names of the tensors, in the order of the index."""
        return tuple(self._shard_of)

    def info(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor without reading it."""
        return self._shard_of[name].info(name)

    def read(self, name: str) -> Tensor:
        """Return a tensor from its shard."""
        return self._shard_of[name].read(name)

    def close(self) -> None:
        """Close all files."""
        for shard in self._shards.values():
            shard.close()


def _existing_shard(index: Path, shard: str) -> Path:
    path = index.parent / shard
    if not os.path.isfile(path):
        raise OneBasinError(
            f"{index}: names the file {shard!r}, which is not in {index.parent}; "
            "download the missing shard or the whole folder again"
        )
    return path


def _read_weight_map(path: Path) -> dict[str, str]:
    try:
        content = read_json(path, object_pairs_hook=_unique_keys)
        weight_map = content["weight_map"]
        if not all(isinstance(shard, str) for shard in weight_map.values()):
            raise TypeError("weight_map must map tensor names to file names")
    except _RepeatedKeys as error:
        raise OneBasinError(f"{path}: {error}; write the index again") from error
    except OneBasinError as error:
        problem = str(error).removeprefix(f"{path}: ")
        raise OneBasinError(f"{path}: not a valid checkpoint index: {problem}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise OneBasinError(
            f"{path}: not a valid checkpoint index ({one_line(error)}); expected JSON with a "
            "'weight_map' of tensor names to file names; download it again"
        ) from error
    for shard in sorted(set(weight_map.values())):
        _check_inside(path, shard)
    return weight_map


def _check_inside(index: Path, shard: str) -> None:
    """Check that a file is inside the folder of the index."""
    parts = Path(shard).parts
    if not parts or os.path.isabs(shard) or ".." in parts or "\0" in shard:
        raise OneBasinError(
            f"{index}: names the file {shard!r}, which is outside its folder; an index may "
            "name only files in its folder"
        )


class _RepeatedKeys(OneBasinError):
    """The error for repeated names in an index."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = sorted(key for key, count in counts.items() if count > 1)
        raise _RepeatedKeys(f"{some_names(repeated)} named twice")
    return result
