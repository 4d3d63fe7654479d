"""Folders of parquet files, in the layout of the Hugging Face hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onebasin._text import one_line
from onebasin.data._sources import ROWS, Table, arrow, class_names_of, features_of, kinds_of
from onebasin.errors import OneBasinError

TAIL_BYTES = 1 << 16
SUSPICIOUS_RATIO = 50
"""Columns with a higher compression ratio are read in small pieces."""
PIECE_BYTES = 1 << 26


def parquet_files(
    folder: Path,
    splits: Mapping[str, Sequence[str]],
    required: Sequence[str] = ("train", "test"),
) -> dict[str, list[Path]]:
    """Return the files of each split: `SPLIT*.parquet` in the folder or in its subfolder `data`.

    Args:
        folder: the folder.
        splits: possible names of the splits "train" and "test", in order of preference.
        required: the required splits.

    Raises:
        OneBasinError: the folder or a required split is missing.
    """
    if not folder.is_dir():
        raise OneBasinError(
            f"data: the folder {folder} does not exist; create it with train*.parquet and "
            "test*.parquet"
        )
    split_files = {}
    for split, names in splits.items():
        globs = [f"{inner}{name}*.parquet" for name in names for inner in ("", "data/")]
        files = next((f for f in (sorted(folder.glob(glob)) for glob in globs) if f), None)
        if files is None and split not in required:
            continue
        if files is None:
            content = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
            raise OneBasinError(
                f"data: {folder} has no {names[0]}*.parquet (it holds {content}); add the file"
            )
        split_files[split] = files
    return split_files


def digest(files: Sequence[Path]) -> list[list[Any]]:
    """Return the name, size, modification time and a digest of the end of each file.

    The end of a parquet file has the offsets and compressed sizes of its columns. Other values may
    have equal sizes; the time distinguishes them.
    """
    digests = []
    for path in files:
        stat = path.stat()
        with path.open("rb") as stream:
            stream.seek(max(0, stat.st_size - TAIL_BYTES))
            end = hashlib.sha256(stream.read()).hexdigest()
        digests.append([path.name, stat.st_size, stat.st_mtime_ns, end])
    return digests


def open_files(files: Sequence[Path]) -> Table:
    """Open the files of one split.

    Args:
        files: one or more files with equal columns.

    Raises:
        OneBasinError: a file cannot be read, or pyarrow is not installed.
    """
    opened = [_open(path) for path in files]
    schema = opened[0].schema_arrow
    features = features_of(schema)
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise OneBasinError(f"data: {files[0]} has two columns {twice!r}; rename one of them")
    for path, file in zip(files, opened, strict=True):
        if file.schema_arrow.names != schema.names:
            raise OneBasinError(
                f"data: {path} has columns {file.schema_arrow.names} but {files[0]} has "
                f"{schema.names}; put only files of one set into the folder"
            )

    def read(columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, list[Any]]]]:
        for path in files:
            yield from _read(path, columns)

    return Table(
        source=str(files[0]),
        num_rows=sum(file.metadata.num_rows for file in opened),
        kinds=kinds_of(schema, features),
        class_names=class_names_of(features),
        read=read,
    )


def _open(path: Path) -> Any:
    arrow()
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError, RecursionError, arrow().ArrowException) as error:
        raise _unreadable(path, error) from error


def _rows_at_once(file: Any) -> int:
    """Return the number of rows to read at a time; few for a high compression ratio.

    One compressed value can represent many copies of a long text.
    """
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    sizes = [
        (column.total_uncompressed_size, column.total_compressed_size)
        for group in groups
        for column in (group.column(i) for i in range(group.num_columns))
    ]
    large = [unpacked for unpacked, packed in sizes if unpacked > SUSPICIOUS_RATIO * packed]
    return max(1, min(ROWS, PIECE_BYTES // max(large))) if large else ROWS


def _read(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, list[Any]]]]:
    with _open(path) as file:
        pieces = file.iter_batches(batch_size=_rows_at_once(file), columns=list(columns))
        while True:
            try:
                piece = next(pieces, None)
                if piece is None:
                    return
                rows = {name: piece.column(name).to_pylist() for name in columns}
            except (OSError, ValueError, KeyError, MemoryError, arrow().ArrowException) as error:
                raise _unreadable(path, error) from error
            yield str(path), rows


def _unreadable(path: Path, error: Exception) -> OneBasinError:
    return OneBasinError(
        f"data: {path} is not a complete parquet file ({one_line(error)}); fetch it again"
    )
