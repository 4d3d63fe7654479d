"""Texts: from characters to numbers of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32

from onebasin.checkpoints.messages import one_line
from onebasin.checkpoints.packages import import_package
from onebasin.errors import OneBasinError, check_whole

BYTES = "bytes"


@dataclass(frozen=True)
class Tokenizer:
    """What makes tokens of texts.

    Args:
        encode: for each text the numbers of its tokens, cut at the length that was asked for.
        padding: the token that fills what a text leaves free.
        vocabulary: tokens are 0 to `vocabulary - 1`.
    """

    encode: Callable[[list[str]], Sequence[Sequence[int]]]
    padding: int
    vocabulary: int


def tokenizer(name: str, length: int) -> Tokenizer:
    """Return a tokenizer by name.

    Args:
        name: `bytes`, whose tokens are the bytes of UTF-8 plus one, and 0 for padding; or the
            name or folder of a tokenizer of transformers.
        length: the most tokens of a text.

    Raises:
        OneBasinError: when there is no such tokenizer, or the length is not positive.
    """
    length = check_whole("data", "max_length", length, least=1)
    if name == BYTES:
        return Tokenizer(lambda texts: [_bytes(text, length) for text in texts], 0, 257)
    library = import_package("transformers", extra="hub")
    try:
        found = library.AutoTokenizer.from_pretrained(name)
    # The library, the network and the tokenizer's own files may raise anything.
    except Exception as error:
        raise OneBasinError(
            f"data: there is no tokenizer {name!r} ({one_line(error)}); give {BYTES!r}, or the "
            "name or folder of one of transformers"
        ) from error

    def encode(texts: list[str]) -> Sequence[Sequence[int]]:
        return found(texts, truncation=True, max_length=length)["input_ids"]

    padding = found.pad_token_id if found.pad_token_id is not None else found.eos_token_id
    return Tokenizer(encode, padding or 0, len(found))


def encode(
    texts: Sequence[Any], tokens: Tokenizer, length: int, where: str, first_row: int
) -> Int32[np.ndarray, "n {length}"]:
    """Make tokens of texts.

    Args:
        texts: the texts.
        tokens: the tokenizer.
        length: tokens of each; what a text leaves free is padding.
        where: where they come from, for messages.
        first_row: number of the first, for messages.

    Returns:
        Tokens of each.

    Raises:
        OneBasinError: when one is no text.
    """
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise OneBasinError(f"data: {where}, row {first_row + place}: there is no text")
    found = np.full((len(texts), length), tokens.padding, dtype=np.int32)
    for row, numbers in enumerate(tokens.encode(list(texts))):
        found[row, : len(numbers)] = numbers
    return found


def _bytes(text: str, length: int) -> list[int]:
    return [byte + 1 for byte in text.encode()[:length]]
