"""Texts as tokens."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from onebasin._packages import import_package, import_torchvision
from onebasin._text import one_line
from onebasin.checkpoints._sources.transformers_config import offline
from onebasin.errors import OneBasinError, check_whole

BYTES = "bytes"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)
"""Files of a transformers tokenizer; its folder has at least one of them."""


SETTING_SUFFIXES = (".json", ".txt", ".model", ".spm", ".codes", ".tiktoken", ".vocab", ".bpe")
"""Suffixes of the files of a folder that determine its tokenizer."""


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer of texts.

    Args:
        encode: function of texts that returns the tokens of each, truncated to the length.
        encode_all: function of a text that returns all its tokens, without special tokens.
        padding: the padding token.
        vocabulary: number of different tokens.
    """

    encode: Callable[[list[str]], Sequence[Sequence[int]]]
    encode_all: Callable[[str], Sequence[int]]
    padding: int
    vocabulary: int


def tokenizer(name: str, length: int) -> Tokenizer:
    """Return a tokenizer by name.

    Args:
        name: `bytes`, whose tokens are the bytes of UTF-8 plus one, and 0 for padding; or the
            name or folder of a tokenizer of transformers.
        length: largest number of tokens of a text.

    Raises:
        OneBasinError: the name is unknown, or the length is not positive.
    """
    length = check_whole("max_length", length, least=1)
    if name == BYTES:
        return Tokenizer(
            lambda texts: [_bytes(text)[:length] for text in texts], _bytes, 0, 1 + 256
        )
    pretrained = _pretrained(name)

    def encode(texts: list[str]) -> Sequence[Sequence[int]]:
        return pretrained(texts, truncation=True, max_length=length)["input_ids"]

    def encode_all(text: str) -> Sequence[int]:
        return pretrained(text, add_special_tokens=False, verbose=False)["input_ids"]

    padding = (
        pretrained.pad_token_id if pretrained.pad_token_id is not None else pretrained.eos_token_id
    )
    return Tokenizer(encode, encode_all, padding or 0, len(pretrained))


def has_tokenizer(folder: str | os.PathLike[str]) -> bool:
    """Return whether a transformers folder has the files of a tokenizer."""
    return any((Path(folder) / name).is_file() for name in TOKENIZER_FILES)


def tokenizer_digest(name: str) -> str | None:
    """Return a digest of the files of a tokenizer's folder; None for a name without a folder.

    Args:
        name: see `tokenizer`.
    """
    if name == BYTES or not Path(name).is_dir():
        return None
    digest = hashlib.sha256()
    for path in sorted(Path(name).iterdir()):
        if path.suffix in SETTING_SUFFIXES and path.is_file():
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256")
            digest.update(f"{path.name}\0{content.hexdigest()}\n".encode())
    return digest.hexdigest()


def _pretrained(name: str) -> Any:
    """Return a transformers tokenizer; its code never runs."""
    with contextlib.suppress(OneBasinError):
        import_torchvision()  # transformers imports it, and some installations need help with that
    library = import_package("transformers", extra="hub")
    is_folder = Path(name).is_dir()
    if is_folder and not has_tokenizer(name):
        raise OneBasinError(
            f"data: the folder {name} has no tokenizer files (such as tokenizer.json); copy them "
            "there, or pass tokenizer="
        )
    try:
        with offline() if is_folder else contextlib.nullcontext():
            return library.AutoTokenizer.from_pretrained(
                name, local_files_only=is_folder, trust_remote_code=False
            )
    # The library, the network and the files may raise anything.
    except Exception as error:
        raise OneBasinError(
            f"data: tokenizer {name!r} cannot be loaded ({one_line(error)}); give {BYTES!r}, or "
            "the name or folder of a tokenizer of transformers"
        ) from error


def check_texts(texts: Sequence[Any], where: str, first_row: int) -> None:
    """Check that all values are texts.

    Args:
        texts: the values.
        where: source of the texts, for messages.
        first_row: row of the first text, for messages.

    Raises:
        OneBasinError: a value is not a text.
    """
    for row, text in enumerate(texts, first_row):
        if not isinstance(text, str):
            raise OneBasinError(
                f"data: {where}, row {row}: the text is missing; give a text in every row"
            )


def encode(
    texts: Sequence[Any], tokens: Tokenizer, length: int, where: str, first_row: int
) -> Int32[np.ndarray, "n row"]:
    """Return the tokens of texts.

    Args:
        texts: the texts.
        tokens: the tokenizer.
        length: number of tokens of each text; shorter texts are padded.
        where: source of the texts, for messages.
        first_row: row of the first text, for messages.

    Returns:
        The rows of `padded`.

    Raises:
        OneBasinError: a value is not a text.
    """
    check_texts(texts, where, first_row)
    return padded(tokens.encode(list(texts)), tokens, length)


def padded(
    rows: Sequence[Sequence[int]], tokens: Tokenizer, length: int
) -> Int32[np.ndarray, "n row"]:
    """Return a row for each text: the number of its tokens, its tokens, and the padding."""
    padded_rows = np.full((len(rows), 1 + length), tokens.padding, dtype=np.int32)
    for row, numbers in enumerate(rows):
        padded_rows[row, 0] = len(numbers)
        padded_rows[row, 1 : 1 + len(numbers)] = numbers
    return padded_rows


def _bytes(text: str) -> list[int]:
    return [byte + 1 for byte in text.encode("utf-8", "surrogatepass")]
