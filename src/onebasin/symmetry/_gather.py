"""Fast gathers that reorder the entries of a tensor of any dtype.

Owns the choice of kernel. On a CPU, NumPy's `take` copies whole machine words, several
times faster than PyTorch along the last dimension. Rows are processed in slices that fit
into the cache, so permuting both sides of a matrix takes one pass over memory.
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


def index_dims(tensor: Tensor, vectors: Sequence[Tensor | None]) -> Tensor:
    """Return a copy of a tensor with an index applied along each dimension.

    Args:
        tensor: any dtype and device.
        vectors: for each dimension the old positions `(n,)` by new position, or None.
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
    """Return a tensor's memory as an array of machine words, or None if not supported.

    Not supported are other devices, tensors that record gradients or are transformed,
    negated or conjugated views, and widths that are not machine words.
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


def take_along_axis(tensor: Tensor, axis: int, index: Tensor) -> Tensor:
    """Return a tensor with one axis reordered depending on the position along other axes.

    Equation: `new[..., i, ...] = old[..., index[..., i, ...], ...]`.

    Args:
        tensor: any dtype and device.
        axis: index of the reordered axis.
        index: old positions along the axis, with as many dimensions as the tensor; size 1 on
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
        result[tuple(slots)] = index_dims(part, vectors)
    return result
