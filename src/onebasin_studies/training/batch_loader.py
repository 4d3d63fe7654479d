"""Batches of stored examples for a group of networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from onebasin.data._row_chunks import as_one_tensor
from onebasin.data.examples import Examples, Pixels, Tokens


class BatchLoader:
    """Loads batches for a group of networks into preallocated memory.

    Images stored as bytes are read as bytes and normalized in the batch. This takes a quarter of
    the memory and memory bandwidth.

    Args:
        examples: all inputs, on the device of the networks.
    """

    def __init__(self, examples: Examples) -> None:
        self._stored = examples if isinstance(examples, Tensor) else as_one_tensor(examples.raw)
        self._shape = tuple(examples.shape[1:])
        self._prepare: Callable[[Tensor], object] | None = None
        self._dtype = self._stored.dtype
        if isinstance(examples, Pixels):
            self._dtype = torch.float32
            self._prepare = partial(_normalize, *_normalization(examples))
        elif isinstance(examples, Tokens):
            self._dtype = torch.int64
        self._spaces: dict[int, tuple[Tensor, Tensor]] = {}

    def load(self, rows: Int64[Tensor, "k b"]) -> Shaped[Tensor, "k b *each"]:
        """Return a batch of examples; the next call overwrites it.

        Args:
            rows: example indices, one batch per network.

        Returns:
            Preprocessed inputs.
        """
        number = rows.numel()
        if number not in self._spaces:
            self._spaces[number] = self._space(number)
        read, batch = self._spaces[number]
        torch.index_select(self._stored, 0, rows.flatten(), out=read)
        if batch is not read:
            batch.copy_(read)
        if self._prepare is not None:
            self._prepare(batch)
        return batch.unflatten(0, rows.shape)

    def _space(self, number: int) -> tuple[Tensor, Tensor]:
        read = self._stored.new_empty(number, *self._shape)
        made = read if self._dtype == read.dtype else read.new_empty(read.shape, dtype=self._dtype)
        return read, made


def on_device(examples: Examples, device: torch.device) -> Examples:
    """Return inputs on a device, in their stored form."""
    if isinstance(examples, Tensor):
        return examples.to(device)
    return replace(examples, raw=as_one_tensor(examples.raw).to(device))


def _normalization(pixels: Pixels) -> tuple[Tensor | float, Tensor | float]:
    """Return the factor and the offset of the normalization."""
    scale, shift = pixels.normalization
    if len(scale) == 1:
        return scale[0], shift[0]
    device, shape = as_one_tensor(pixels.raw).device, (-1, 1, 1)
    return (
        torch.tensor(scale, device=device).view(shape),
        torch.tensor(shift, device=device).view(shape),
    )


def _normalize(scale: Tensor | float, shift: Tensor | float, images: Tensor) -> None:
    images.mul_(scale).sub_(shift)
