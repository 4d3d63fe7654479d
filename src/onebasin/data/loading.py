"""Data by name: named datasets, files, folders, callables and the hub."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from onebasin.data._decoded import HubSet, decode_data, load_set_data
from onebasin.data._normalization import describe
from onebasin.data._parquet import digest, open_files
from onebasin.data._read_options import IMAGE_ONLY, TEXT_ONLY, ReadOptions, local_name
from onebasin.data._readers.csv_files import read_csv_files
from onebasin.data._readers.image_folders import is_image_folder, read_image_folder
from onebasin.data._readers.npz import read_npz
from onebasin.data._readers.objects import read_callable
from onebasin.data._readers.text_files import read_text_files
from onebasin.data._sources import SPLIT_NAMES
from onebasin.data.data import Data
from onebasin.data.datasets import (
    DATASETS,
    DIGITS,
    HUB_PREFIX,
    data_root,
    load_digits,
    unknown_dataset,
)
from onebasin.errors import OneBasinError

_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")

FileReader = Callable[[str, Mapping[str, Path], ReadOptions], Data]


def load_data(
    spec: str,
    *,
    root: str | os.PathLike[str] | None = None,
    options: ReadOptions | None = None,
) -> Data:
    """Return data by name: a dataset, a file, a folder, a callable or a dataset of the hub.

    Args:
        spec: a name of `DATASETS`; a folder in `root`; a file (`.npz`, `.csv`, `.tsv`,
            `.txt`, `.parquet`) or a folder of parquet files, images, CSV or text files;
            `package.module:callable`; or `owner/name` or `hf:name` on the Hugging Face hub.
        root: folder with one subfolder for each dataset. Default: the environment variable
            ONEBASIN_DATA.
        options: how the data are read.

    Returns:
        The data, with the labels and splits of the source.

    Raises:
        OneBasinError: the name is unknown, or the data cannot be read.

    Examples:
        >>> load_data("digits").num_classes
        10
    """
    options = options or ReadOptions()
    if not spec:
        raise OneBasinError("data: the name of the data is empty; name data, such as digits")
    if spec == DIGITS:
        return _digits(options)
    folder = data_root(root)
    name = spec.removeprefix(HUB_PREFIX)
    below = _below_root(spec, folder)
    if below is not None:
        return _read_folder(spec, below, options, DATASETS.get(spec))
    if spec not in DATASETS and Path(spec).exists():
        return _read_path(Path(spec), options)
    if spec not in DATASETS and name == spec and _CALLABLE.fullmatch(spec):
        return read_callable(spec, options)
    known = DATASETS.get(spec)
    if known is None and (name == spec and ("/" not in spec or _looks_like_path(spec))):
        raise unknown_dataset(spec, folder, "a file or folder, package.module:callable, ")
    return _load_set(spec, known or HubSet(name), options)


def local_data(spec: str, *, root: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the file or folder that `load_data` reads, or None for other data.

    Args:
        spec: see `load_data`.
        root: see `load_data`.
    """
    if spec in ("", DIGITS):
        return None
    path = Path(spec) if spec not in DATASETS and Path(spec).exists() else None
    return _below_root(spec, data_root(root)) or path


def _below_root(spec: str, root: Path | None) -> Path | None:
    below = None if root is None else root / spec.removeprefix(HUB_PREFIX)
    return below if below is not None and below.is_dir() else None


def _looks_like_path(spec: str) -> bool:
    return spec.startswith((".", "/", "~")) or spec.count("/") > 1 or bool(Path(spec).suffix)


def _digits(options: ReadOptions) -> Data:
    options.check_unused("digits", *TEXT_ONLY, "image_size", "label_column")
    normalization = options.normalization
    dataset = load_digits(normalization=normalization)
    words = "mean and std of the training images" if normalization is None else None
    return Data.from_dataset(dataset, words or describe(*(normalization or ((), ()))))


def _read_path(path: Path, options: ReadOptions) -> Data:
    if path.is_dir():
        return _read_folder(local_name(path), path, options, None)
    if not path.is_file():
        raise OneBasinError(f"data: {path} is not a regular file or folder; name one")
    suffix, name = path.suffix.lower(), local_name(path)
    if suffix == ".npz":
        return read_npz(path, options)
    if suffix == ".parquet":
        return _read_parquet(name, {"train": path}, options)
    if suffix in FILE_READERS:
        return FILE_READERS[suffix](name, {"train": path}, options)
    raise OneBasinError(
        f"data: {path} has an unknown suffix; give .npz, .csv, .tsv, .txt or .parquet, a folder, "
        "or package.module:callable"
    )


def _read_folder(name: str, folder: Path, options: ReadOptions, known: HubSet | None) -> Data:
    if any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet")):
        return _load_set(name, replace(known or HubSet(name), folder=folder), options)
    for suffix, read in FILE_READERS.items():
        files = _split_files(folder, suffix)
        if "train" in files:
            return read(name, files, options)
    if is_image_folder(folder):
        options.check_unused("a folder of images", *TEXT_ONLY, "label_column")
        normalization = options.normalization or (known and known.normalization)
        return read_image_folder(name, folder, options.to_reading(), normalization)
    content = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
    raise OneBasinError(
        f"data: {folder} holds {content}; add train*.parquet, a folder of images for each class, "
        "train.csv or train.txt"
    )


def _split_files(folder: Path, suffix: str) -> dict[str, Path]:
    split_files = {}
    for split, names in SPLIT_NAMES.items():
        files = (folder / f"{name}{suffix}" for name in names)
        path = next((path for path in files if path.is_file()), None)
        if path is not None:
            split_files[split] = path
    return split_files


def _load_set(name: str, source: HubSet, options: ReadOptions) -> Data:
    source = replace(
        source,
        normalization=options.normalization or source.normalization,
        reading=replace(source.reading, **options.reading),
    )
    return _checked(load_set_data(name, source, _names_of(source)), options)


def _names_of(source: HubSet) -> dict[str, tuple[str, ...]]:
    return {**SPLIT_NAMES, "test": source.test_splits}


def _read_parquet(name: str, paths: Mapping[str, Path], options: ReadOptions) -> Data:
    origin = {split: digest([path]) for split, path in paths.items()}
    tables = {split: open_files([path]) for split, path in paths.items()}
    data = decode_data(
        name,
        lambda: tables,
        origin,
        options.to_reading(),
        normalization=options.normalization,
    )
    return _checked(data, options)


def _checked(data: Data, options: ReadOptions) -> Data:
    """Return the data of a table; raise an error for options without effect."""
    if data.tokens is None:
        options.check_unused(f"the images of {data.name}", *TEXT_ONLY)
    else:
        options.check_unused(f"the texts of {data.name}", *IMAGE_ONLY)
    return data


FILE_READERS: Mapping[str, FileReader] = {
    ".csv": read_csv_files,
    ".tsv": read_csv_files,
    ".txt": read_text_files,
}
