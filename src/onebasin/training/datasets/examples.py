"""Inputs kept as small as they were stored, and made into what a network takes when asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import overload

import torch
from jaxtyping import Float32, Int32, Int64, UInt8
from torch import Tensor

from onebasin.errors import OneBasinError

Rows = slice | Tensor | list[int]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images as bytes, normalised where they are read.

    Args:
        raw: bytes; may lie in a memory-mapped file.
        mean: of each channel, in units of 1 = 255.
        deviation: likewise.
    """

    raw: UInt8[Tensor, "n c h w"]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check that there is a mean and a deviation for each channel."""
        channels = self.raw.shape[1]
        if not len(self.mean) == len(self.deviation) == channels or min(self.deviation) <= 0:
            raise OneBasinError(
                f"data: images of {channels} channels, but means {self.mean} and deviations "
                f"{self.deviation}; give one mean and one positive deviation for each channel"
            )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.raw)

    @property
    def shape(self) -> torch.Size:
        """The shape of all images, `(n, channels, height, width)`."""
        return self.raw.shape

    def __getitem__(self, rows: Rows) -> Float32[Tensor, "m c h w"]:
        """Return some images, normalised."""
        raw, shape = self.raw[rows], (-1, 1, 1)
        scale, shift = (torch.tensor(each, device=raw.device) for each in self.normalisation)
        return raw.float().mul_(scale.view(shape)).sub_(shift.view(shape))

    @property
    def normalisation(self) -> tuple[list[float], list[float]]:
        """What bytes of each channel are multiplied by, and what is then taken off."""
        return (
            [1 / (255 * deviation) for deviation in self.deviation],
            [m / d for m, d in zip(self.mean, self.deviation, strict=True)],
        )

    def select(self, rows: Rows) -> Pixels:
        """Return some images as they are stored."""
        return replace(self, raw=self.raw[rows])

    def __repr__(self) -> str:
        return f"Pixels(shape={tuple(self.shape)}, mean={self.mean}, deviation={self.deviation})"


@dataclass(frozen=True, eq=False)
class Tokens:
    """Texts as numbers of tokens, in as few bytes as they were stored.

    Args:
        raw: one row for each text; may lie in a memory-mapped file.
        vocabulary: tokens are 0 to `vocabulary - 1`.
    """

    raw: Int32[Tensor, "n t"]
    vocabulary: int

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

    def select(self, rows: Rows) -> Tokens:
        """Return some texts as they are stored."""
        return replace(self, raw=self.raw[rows])

    def __repr__(self) -> str:
        return f"Tokens(shape={tuple(self.shape)}, vocabulary={self.vocabulary})"


Examples = Tensor | Pixels | Tokens
"""What inputs can be kept as."""


@overload
def select(examples: Tensor, rows: Rows) -> Tensor: ...
@overload
def select(examples: Pixels, rows: Rows) -> Pixels: ...
@overload
def select(examples: Tokens, rows: Rows) -> Tokens: ...
def select(examples: Examples, rows: Rows) -> Examples:
    """Return some of the inputs, kept as they are."""
    return examples[rows] if isinstance(examples, Tensor) else examples.select(rows)


def as_tensor(examples: Examples, name: str) -> Tensor:
    """Return all inputs as the tensor that a network takes.

    Args:
        examples: the inputs.
        name: of the dataset, for the message.

    Raises:
        OneBasinError: when the memory of this machine cannot hold them.
    """
    if isinstance(examples, Tensor):
        return examples
    size, memory = examples.raw.numel() * (8 if isinstance(examples, Tokens) else 4), _memory()
    if memory is not None and size > memory:
        raise OneBasinError(
            f"data: all inputs of {name} take {size / 1e9:.0f} GB as a tensor, and this machine "
            f"has {memory / 1e9:.0f} GB; take a subset, or read them with batches()"
        )
    return examples[:]


def _memory() -> int | None:
    """Return the bytes of memory of this machine, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
