"""Plain text files, cut into blocks of tokens for language models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onebasin.data._decoded import decode_data
from onebasin.data._read_options import IMAGE_ONLY, ReadOptions
from onebasin.data._readers.csv_files import file_key
from onebasin.data._sources import Table
from onebasin.data.data import Data
from onebasin.errors import OneBasinError

CHARACTERS = 1 << 18
"""Number of characters that are tokenized at a time; longer lines are split."""


def read_text_files(name: str, paths: Mapping[str, Path], options: ReadOptions) -> Data:
    """Return text files as blocks of tokens, without labels.

    Args:
        name: name for messages and reports.
        paths: the file of each split.
        options: options of the tokenizer.

    Raises:
        OneBasinError: a file is empty or not UTF-8.
    """
    options.check_unused("a text file", *IMAGE_ONLY, "label_column")
    for path in paths.values():
        if not path.stat().st_size:
            raise OneBasinError(f"data: {path} is empty; give some text")
    origin = {split: file_key(path) for split, path in paths.items()}
    tables = {split: _table(path) for split, path in paths.items()}
    return decode_data(name, lambda: tables, origin, options.to_reading())


def _table(path: Path) -> Table:
    def read(columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, list[Any]]]]:
        for text in _pieces(path):
            yield str(path), {"text": [text]}

    return Table(str(path), 1, {"text": "text"}, {}, read)


def _pieces(path: Path) -> Iterator[str]:
    """Yield the text in pieces that end with a line, except for very long lines."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            while piece := stream.read(CHARACTERS):
                yield piece + stream.readline(CHARACTERS)
    except UnicodeDecodeError as error:
        raise OneBasinError(
            f"data: {path} is not UTF-8 text ({error.reason}); convert it"
        ) from error
    except OSError as error:
        raise OneBasinError(f"data: {path} cannot be read ({error.strerror or error})") from error
