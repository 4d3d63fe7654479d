"""Data in `.npz` files of NumPy."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from onebasin._text import one_line
from onebasin.data._read_options import TEXT_ONLY, ReadOptions, local_name
from onebasin.data._readers.arrays import data_of_arrays
from onebasin.data.data import Data
from onebasin.data.examples import memory_bytes
from onebasin.errors import OneBasinError

MAX_ARRAYS = 1000


def read_npz(path: Path, options: ReadOptions) -> Data:
    """Return the data of a `.npz` file; pickled objects raise an error.

    Args:
        path: the file, with arrays such as x and y, or x_train, y_train, x_test and y_test.
        options: only `normalize` has an effect.

    Raises:
        OneBasinError: the file is damaged, holds objects, or is too large for the memory.
    """
    options.check_unused("a .npz file", *TEXT_ONLY, "image_size", "label_column")
    return data_of_arrays(local_name(path), read_arrays(path), options.normalization)


def read_arrays(path: Path) -> Mapping[str, Any]:
    """Return the arrays of a `.npz` file by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist()]
            if len(names) > MAX_ARRAYS or len(set(names)) < len(names):
                raise OneBasinError(
                    f"data: {path} has {len(names)} arrays or a repeated name; write it again"
                )
            _check_sizes(path, archive)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except OneBasinError:
        raise
    # NumPy and zipfile raise many exceptions for damaged files.
    except Exception as error:
        raise OneBasinError(
            f"data: {path} cannot be read as .npz ({one_line(error, limit=100)}); write plain "
            "arrays with numpy.savez"
        ) from error


def _check_sizes(path: Path, archive: zipfile.ZipFile) -> None:
    """Check before reading that arrays have the sizes of their headers and fit into memory."""
    total = 0
    for info in archive.infolist():
        if info.filename.endswith(".npy"):
            with archive.open(info) as member:
                version = np.lib.format.read_magic(member)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(member)
            size = prod(shape) * dtype.itemsize
            if size > info.file_size and not dtype.hasobject:
                raise OneBasinError(
                    f"data: {path}: array {info.filename} is truncated; write the file again"
                )
        total += info.file_size
    memory = memory_bytes()
    if memory is not None and total > memory // 4:
        raise OneBasinError(
            f"data: the arrays of {path} take {total / 1e9:.1f} GB, more than a quarter of the "
            "memory; write fewer examples, or give a DataLoader (package.module:callable)"
        )
