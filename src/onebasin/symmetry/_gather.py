"""Gathers: reordering the entries of a tensor fast, whatever its dtype.

Owns the choice between kernels. On a CPU NumPy's `take` moves whole words without looking
at them, several times faster than PyTorch along the last dimension, and rows go in slices
that stay in the cache, so that ordering both sides of a matrix is one pass over memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
import torch
from torch import Tensor

SLICE_ENTRIES = 2**18
WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def select(tensor: Tensor, vectors: Sequence[Tensor | None]) -> Tensor:
    """Return a copy of a tensor with an order of its own along each dimension.

    Args:
        tensor: any dtype and device.
        vectors: per dimension the old position for every new one `(n,)`, or None to keep it.
    """
    moving = [dim for dim, vector in enumerate(vectors) if vector is not None]
    if not moving:
        return tensor.clone(memory_format=torch.contiguous_format)
    source = words(tensor)
    if source is not None and tensor.numel() > 0:
        result = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        orders = [None if vector is None else vector.numpy() for vector in vectors]
        _take_in_slices(source, orders, out=_words_of(result))
        return result
    for dim in moving:
        tensor = tensor.index_select(dim, _vector_for(tensor, vectors[dim]))
    return tensor


def _vector_for(tensor: Tensor, vector: Tensor | None) -> Tensor:
    assert vector is not None
    return vector.to(tensor.device)


def _take_in_slices(
    source: np.ndarray, orders: Sequence[np.ndarray | None], *, out: np.ndarray
) -> None:
    step = max(1, SLICE_ENTRIES // prod(source.shape[1:]))
    later = [(dim, order) for dim, order in enumerate(orders) if dim and order is not None]
    for start in range(0, len(source), step):
        rows = slice(start, start + step)
        first = orders[0]
        part = source[rows] if first is None else source.take(first[rows], axis=0, mode="clip")
        for dim, order in later[:-1]:
            part = part.take(order, axis=dim, mode="clip")
        if later:
            dim, order = later[-1]
            part.take(order, axis=dim, out=out[rows], mode="clip")
        else:
            out[rows] = part


def words(tensor: Tensor) -> np.ndarray | None:
    """Return a tensor's memory as an array of words of its width, or None where there is none.

    None for other devices, for tensors that record gradients or are being transformed, for
    views that negate or conjugate, and for widths that are no machine word.
    """
    records = tensor.requires_grad and torch.is_grad_enabled()
    if tensor.device.type != "cpu" or records or tensor.itemsize not in WORDS:
        return None
    try:
        return _words_of(tensor)
    except RuntimeError:
        return None


def _words_of(tensor: Tensor) -> np.ndarray:
    return tensor.detach().view(WORDS[tensor.itemsize]).numpy()


def reorder(tensor: Tensor, axis: int, index: Tensor) -> Tensor:
    """Return a tensor with one axis in an order that depends on the position along others.

    Equation: `new[..., i, ...] = old[..., index[..., i, ...], ...]`.

    Args:
        tensor: any dtype and device.
        axis: the axis to order, counted from 0.
        index: old positions along the axis, as many dimensions as the tensor; size 1 on
            every other axis that the order does not depend on.
    """
    bound = [i for i, size in enumerate(index.shape) if i != axis and size != 1]
    result = torch.empty_like(tensor, memory_format=torch.contiguous_format)
    for place in product(*(range(index.shape[i]) for i in bound)):
        slots: list[int | slice] = [slice(None)] * tensor.dim()
        for i, position in zip(bound, place, strict=True):
            slots[i] = position
        part = tensor[tuple(slots)]
        vectors: list[Tensor | None] = [None] * part.dim()
        vectors[axis - sum(i < axis for i in bound)] = index[tuple(slots)].flatten()
        result[tuple(slots)] = select(part, vectors)
    return result
