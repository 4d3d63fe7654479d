"""Compact inputs, which are converted to inputs of a network on access."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int32, Int64, UInt8
from torch import Tensor
from torch.utils import _pytree as pytree

from onebasin._text import counted
from onebasin.data._row_chunks import RowChunks
from onebasin.errors import OneBasinError
from onebasin.graph.batches import IGNORE_INDEX

Rows = slice | Tensor | list[int]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images as bytes, which are normalized on access.

    Args:
        raw: bytes, in memory or in a memory-mapped file.
        mean: mean of each channel, for pixels from 0 to 1.
        std: standard deviation of each channel.
    """

    raw: UInt8[Tensor, "n c h w"] | RowChunks
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check that there is a mean and a standard deviation for each channel."""
        channels = self.raw.shape[1]
        if not len(self.mean) == len(self.std) == channels or min(self.std) <= 0:
            raise OneBasinError(
                f"data: images have {counted(channels, 'channel')}, but means {self.mean} and "
                f"stds {self.std}; pass one mean and one positive std for each channel"
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.raw)

    @property
    def shape(self) -> torch.Size:
        """The shape of all images, `(n, channels, height, width)`."""
        return self.raw.shape

    def __getitem__(self, rows: Rows) -> Float32[Tensor, "m c h w"]:
        """Return some images, normalized."""
        raw, shape = self.raw[rows], (-1, 1, 1)
        scale, shift = (torch.tensor(v, device=raw.device) for v in self.normalization)
        return raw.float().mul_(scale.view(shape)).sub_(shift.view(shape))

    @property
    def normalization(self) -> tuple[list[float], list[float]]:
        """The scale of the bytes of each channel, and the shift that is then subtracted."""
        return (
            [1 / (255 * std) for std in self.std],
            [m / d for m, d in zip(self.mean, self.std, strict=True)],
        )

    def select(self, rows: Rows) -> Pixels:
        """Return some images in their stored form."""
        return replace(self, raw=self.raw[rows])

    def __repr__(self) -> str:
        return f"Pixels(shape={tuple(self.shape)}, mean={self.mean}, std={self.std})"


@dataclass(frozen=True, eq=False)
class Tokens:
    """Texts as tokens, in their stored dtype.

    Args:
        raw: a row for each text, in memory or in a memory-mapped file.
        vocabulary: number of different tokens.
        lengths: number of tokens of each text, without padding; None if there is no padding.
    """

    raw: Int32[Tensor, "n t"] | RowChunks
    vocabulary: int
    lengths: Int32[Tensor, " n"] | None = None

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.raw)

    @property
    def shape(self) -> torch.Size:
        """The shape of all texts, `(n, length)`."""
        return self.raw.shape

    def __getitem__(self, rows: Rows) -> Int64[Tensor, "m t"]:
        """Return some texts."""
        return self.raw[rows].long()

    def mask(self, rows: Rows) -> Int64[Tensor, "m t"]:
        """Return 1 for each token of some texts and 0 for padding."""
        raw = self.raw[rows]
        if self.lengths is None:
            return torch.ones_like(raw, dtype=torch.int64)
        return (torch.arange(raw.shape[1]) < self.lengths[rows].unsqueeze(1)).long()

    def select(self, rows: Rows) -> Tokens:
        """Return some texts in their stored form."""
        lengths = None if self.lengths is None else self.lengths[rows]
        return replace(self, raw=self.raw[rows], lengths=lengths)

    def __repr__(self) -> str:
        return f"Tokens(shape={tuple(self.shape)}, vocabulary={self.vocabulary})"


@dataclass(frozen=True, eq=False)
class MaskedTokens:
    """Texts as keyword arguments of a transformer: `input_ids` and `attention_mask`.

    Args:
        tokens: the texts.
    """

    tokens: Tokens

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.tokens)

    def __getitem__(self, rows: Rows) -> dict[str, Tensor]:
        """Return some texts."""
        return {"input_ids": self.tokens[rows], "attention_mask": self.tokens.mask(rows)}

    def select(self, rows: Rows) -> MaskedTokens:
        """Return some texts in their stored form."""
        return MaskedTokens(self.tokens.select(rows))


@dataclass(frozen=True, eq=False)
class NextTokens:
    """Labels of a language model: the next token, or -100 at the end.

    Args:
        tokens: the texts.
    """

    tokens: Tokens

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.tokens)

    def __getitem__(self, rows: Rows) -> Int64[Tensor, "m t"]:
        """Return the labels of some texts."""
        labels = self.tokens[rows].masked_fill(self.tokens.mask(rows) == 0, IGNORE_INDEX)
        return F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)

    def select(self, rows: Rows) -> NextTokens:
        """Return the labels of some texts."""
        return NextTokens(self.tokens.select(rows))


@dataclass(frozen=True, eq=False)
class Fields:
    """Several tensors for each example: keyword or positional arguments of a model.

    Args:
        parts: tensors with a row for each example, by name or in order.
    """

    parts: Mapping[str, Tensor] | tuple[Tensor, ...]

    def __post_init__(self) -> None:
        """Check that all have the same number of rows."""
        sizes = {len(part) for part in self._tensors}
        if len(sizes) != 1:
            raise OneBasinError(
                f"data: the arrays have {' and '.join(map(str, sorted(sizes)))} rows; give one row "
                "for each example"
            )

    @property
    def _tensors(self) -> list[Tensor]:
        return list(self.parts.values() if isinstance(self.parts, Mapping) else self.parts)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._tensors[0])

    def __getitem__(self, rows: Rows) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """Return the arguments for some examples."""
        if isinstance(self.parts, Mapping):
            return {name: part[rows] for name, part in self.parts.items()}
        return tuple(part[rows] for part in self.parts)

    def select(self, rows: Rows) -> Fields:
        """Return some of the examples."""
        return Fields(self[rows])


Examples = Tensor | Pixels | Tokens
"""Stored forms of the inputs of a `Dataset`."""


def select(examples: Any, rows: Rows) -> Any:
    """Return some of the inputs in their stored form."""
    return examples[rows] if isinstance(examples, Tensor) else examples.select(rows)


def as_tensors(batch: Any) -> Any:
    """Return a batch with NumPy arrays converted to tensors."""
    if isinstance(batch, np.ndarray):
        return torch.as_tensor(batch) if batch.dtype.kind in "biuf" else batch
    if isinstance(batch, Mapping):
        return {name: as_tensors(value) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(map(as_tensors, batch)) if type(batch) in (tuple, list) else batch
    return batch


def rows_of(inputs: Any) -> int | None:
    """Return the number of examples in the inputs of a batch; None if they hold no tensor."""
    leaves = pytree.tree_leaves(inputs)
    sizes = (len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim())
    return next(sizes, None)


def first_rows(values: Any, number: int) -> Any:
    """Return the first examples of a batch's inputs or labels."""
    return pytree.tree_map(
        lambda leaf: leaf[:number] if isinstance(leaf, Tensor) and leaf.dim() else leaf, values
    )


def as_tensor(examples: Examples, name: str) -> Tensor:
    """Return all inputs as one tensor.

    Args:
        examples: the inputs.
        name: name of the dataset, for messages.

    Raises:
        OneBasinError: the memory is too small.
    """
    if isinstance(examples, Tensor):
        return examples
    size = math.prod(examples.shape) * (8 if isinstance(examples, Tokens) else 4)
    memory = memory_bytes()
    if memory is not None and size > memory:
        raise OneBasinError(
            f"data: all inputs of {name} take {size / 1e9:.0f} GB as a tensor, and this machine "
            f"has {memory / 1e9:.0f} GB; take a subset, or read them with batches()"
        )
    return examples[:]


def memory_bytes() -> int | None:
    """Return the size of the memory in bytes, or None if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
