"""Folders of images with a subfolder for each class, as in ImageFolder of torchvision."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onebasin._text import some_names
from onebasin.data._decoded import Normalization, decode_data
from onebasin.data._decoding import Reading
from onebasin.data._sources import SPLIT_NAMES, Table
from onebasin.data.data import Data
from onebasin.errors import OneBasinError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff")
TRAIN, TEST = SPLIT_NAMES["train"], SPLIT_NAMES["test"]
FILES_AT_ONCE = 64
MAX_FILE_BYTES = 1 << 28


def is_image_folder(folder: Path) -> bool:
    """Return whether a folder or one of its subfolders holds images or folders of images."""
    roots = [folder, *(folder / name for name in (*TRAIN, *TEST))]
    return any(_images(root) or _classes(root) for root in roots if root.is_dir())


def read_image_folder(
    name: str, folder: Path, reading: Reading, normalization: Normalization | None
) -> Data:
    """Return the images of a folder.

    Args:
        name: name for messages and reports.
        folder: folder with a subfolder for each class, or `train` and `test` (or `val`) with these.
            Images that are not in folders are unlabeled.
        reading: how images are read.
        normalization: normalization; None for that of the training images.

    Raises:
        OneBasinError: there are no images, or the splits have different classes.
    """
    train = next((folder / n for n in TRAIN if (folder / n).is_dir()), folder)
    test = next((folder / n for n in TEST if (folder / n).is_dir()), None)
    if train == folder and test is not None and _has_other_classes(folder):
        test = None
    roots = {"train": train} | ({} if test is None else {"test": test})
    if train == folder and test is not None:
        raise OneBasinError(f"data: {folder} has a folder {test.name} but no folder train; add it")
    classes = _classes(train)
    files = {split: _files(root, classes) for split, root in roots.items()}
    origin = {split: [_key(path) for path, _ in paths] for split, paths in files.items()}

    def tables() -> Mapping[str, Table]:
        return {split: _table(roots[split], paths, classes) for split, paths in files.items()}

    return decode_data(
        name, tables, origin, replace(reading, label_column=None), normalization=normalization
    )


def _has_other_classes(folder: Path) -> bool:
    return any(name not in (*TRAIN, *TEST) for name in _classes(folder))


def _classes(folder: Path) -> list[str]:
    """Return the names of the subfolders that hold images, in order."""
    folders = (path for path in sorted(folder.iterdir()) if path.is_dir())
    return [path.name for path in folders if not path.name.startswith(".") and _any_image(path)]


def _images(folder: Path) -> list[Path]:
    """Return the images of a folder, in order, without those of its subfolders."""
    return sorted(path for path in folder.iterdir() if _is_image(path.name) and path.is_file())


def _is_image(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def _any_image(folder: Path) -> bool:
    return any(_is_image(name) for _, _, names in os.walk(folder) for name in names)


def _files(root: Path, classes: Sequence[str]) -> list[tuple[Path, int | None]]:
    """Return the images of a split with the number of their class; None without classes."""
    root_classes = _classes(root)
    if set(root_classes) - set(classes):
        raise OneBasinError(
            f"data: {root} has classes {some_names(root_classes)}, but the training images have "
            f"{some_names(classes)}; both must have the same classes"
        )
    labeled_paths: list[tuple[Path, int | None]] = []
    for number, name in enumerate(classes):
        for folder, _, names in sorted(os.walk(root / name)):
            labeled_paths += [
                (Path(folder, file), number) for file in sorted(names) if _is_image(file)
            ]
    if not classes:
        labeled_paths = [(path, None) for path in _images(root)]
    if not labeled_paths:
        raise OneBasinError(
            f"data: {root} holds no images; put a folder of images there for each class"
        )
    return labeled_paths


def _key(path: Path) -> list[Any]:
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def _table(root: Path, files: Sequence[tuple[Path, int | None]], classes: Sequence[str]) -> Table:
    def read(columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, list[Any]]]]:
        for path, label in files:
            rows = {"image": [_content(path)], "label": [label]}
            yield str(path), {column: rows[column] for column in columns}

    kinds = {"image": "image"} | ({"label": "class"} if classes else {})
    names = {"label": tuple(classes)} if classes else {}
    return Table(str(root), len(files), kinds, names, read)  # pyright: ignore[reportArgumentType]


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise OneBasinError(f"data: {path} has more than {MAX_FILE_BYTES >> 20} MB; shrink it")
        return path.read_bytes()
    except OSError as error:
        raise OneBasinError(f"data: {path} cannot be read ({error.strerror or error})") from error
