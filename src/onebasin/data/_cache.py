"""The cache of decoded data: memory-mapped Arrow files of Hugging Face `datasets`."""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onebasin._text import one_line
from onebasin.data._decoding import Decoding
from onebasin.data._hub import quiet
from onebasin.data._row_chunks import RowChunks
from onebasin.errors import OneBasinError

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DecodedSplit:
    """The decoded rows of a split.

    Args:
        inputs: rows of the inputs; changes to memory-mapped rows are not written.
        labels: the labels, or None.
    """

    inputs: Tensor | RowChunks
    labels: Tensor | None


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded data.

    Args:
        metadata: metadata from decoding.
        splits: the decoded splits by name.
    """

    metadata: Mapping[str, Any]
    splits: Mapping[str, DecodedSplit]


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the cache.

    Args:
        given: the folder. Default: the environment variable ONEBASIN_CACHE, or `onebasin` in
            the cache folder of the platform.
    """
    if given is not None:
        return Path(given)
    if os.environ.get("ONEBASIN_CACHE"):
        return Path(os.environ["ONEBASIN_CACHE"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "onebasin"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "onebasin"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onebasin"


def load_decoded(start: Callable[[], Decoding], name: str, key: str, folder: Path) -> Decoded:
    """Return decoded data from the cache; they are decoded first if the cache lacks them.

    If several processes need the same data, one decodes and the others wait. Without the library
    `datasets`, the data are decoded into memory.

    Args:
        start: function that opens the source.
        name: name of the folder in the cache.
        key: hexadecimal digest of the source and the options.
        folder: the folder of the cache.

    Raises:
        OneBasinError: the cache cannot be written, or the source is invalid.
    """
    if not _has_datasets():
        return _decode_in_memory(start())
    for entry in folder.glob(f"*/*/*/{key}"):
        try:
            return _open(entry)
        # Damaged files raise many exceptions, such as ArrowInvalid, KeyError and ValueError.
        except Exception as error:
            _check_damaged(entry, error)
            _LOGGER.warning("data: the cache %s is damaged; the data are decoded again", entry)
            shutil.rmtree(entry, ignore_errors=True)
            if entry.exists():
                raise OneBasinError(
                    f"data: the cache {entry} is damaged and cannot be deleted; delete it"
                ) from error
    return _open(_decode_to_files(start, name, key, folder))


def _check_damaged(entry: Path, error: Exception) -> None:
    """Raise an error that is not due to the content of the files of an entry."""
    if isinstance(error, MemoryError | ImportError):
        raise error
    # Errors of the system have a number; those of Arrow about the content have none.
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
        raise OneBasinError(
            f"data: cannot read the cache {entry}: {one_line(error)}; check its permissions and "
            "the limits of the system"
        ) from error


def _has_datasets() -> bool:
    spec = importlib.util.find_spec("datasets")
    return spec is not None and spec.origin is not None  # not a folder of that name


def _decode_in_memory(decoding: Decoding) -> Decoded:
    splits = {}
    for split in decoding.tables:
        rows = list(decoding.rows(split))
        labels = [part for _, part in rows if part is not None]
        splits[split] = DecodedSplit(
            torch.from_numpy(np.concatenate([inputs for inputs, _ in rows])),
            torch.from_numpy(np.concatenate(labels)) if labels else None,
        )
    return Decoded(decoding.metadata(), splits)


def _decode_to_files(start: Callable[[], Decoding], name: str, key: str, folder: Path) -> Path:
    """Return the folder of the Arrow files; another process may have written them by now."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    from onebasin.data._arrow_builder import DecodedBuilder

    try:
        with quiet(datasets):
            builder = DecodedBuilder(
                start, cache_dir=str(folder), dataset_name=name, hash=key, writer_batch_size=1 << 31
            )
            builder.download_and_prepare()
    except (OSError, DatasetGenerationError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__ or error
        if isinstance(cause, OneBasinError):
            raise cause from None
        if not isinstance(cause, OSError):
            raise
        raise OneBasinError(
            f"data: the cache {folder} cannot be written ({cause.strerror or cause}); make room, "
            "or name another folder in ONEBASIN_CACHE"
        ) from error
    return Path(builder.cache_dir)


def _open(folder: Path) -> Decoded:
    info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    metadata = json.loads(info["description"])
    splits = {}
    for split, described in info["splits"].items():
        files = sorted(folder.glob(f"{info['dataset_name']}-{split}*.arrow"))
        chunks = [chunk for path in files for chunk in _map_file(path, metadata["shape"])]
        inputs = [torch.from_numpy(inputs) for inputs, _ in chunks]
        labels = [labels for _, labels in chunks if labels is not None]
        if sum(map(len, inputs)) != described["num_examples"]:
            raise ValueError(f"{folder} lacks rows")
        splits[split] = DecodedSplit(
            inputs[0] if len(inputs) == 1 else RowChunks(tuple(inputs)),
            torch.from_numpy(np.concatenate(labels)) if labels else None,
        )
    return Decoded(metadata, splits)


def _map_file(path: Path, shape: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return the inputs and labels of each record batch; the inputs are mapped copy-on-write."""
    import pyarrow as pa

    chunks = []
    with pa.memory_map(str(path)) as file:
        start = file.read_buffer().address
        file.seek(0)
        for batch in pa.ipc.open_stream(file):
            values = batch.column("inputs").flatten()
            mapped = np.memmap(
                path,
                dtype=values.type.to_pandas_dtype(),
                mode="c",
                offset=values.buffers()[1].address - start,
                shape=(batch.num_rows, *shape),
            )
            labels = batch.column("labels").to_numpy() if "labels" in batch.schema.names else None
            chunks.append((mapped, labels))
    return chunks
