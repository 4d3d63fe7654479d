"""Gathers: reordering the entries of a tensor fast, whatever its dtype.

Owns the choice between PyTorch's kernels. On a CPU rows are moved in slices that stay in
the cache, so that ordering both sides of a matrix costs one pass over its memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

SLICE_ENTRIES = 2**18
ROW_ENTRIES = 16


def select(tensor: Tensor, vectors: Sequence[Tensor | None]) -> Tensor:
    """Return a copy of a tensor with an order of its own along each dimension.

    Args:
        tensor: any dtype and device.
        vectors: per dimension the old position for every new one `(n,)`, or None to keep it.
    """
    moving = [dim for dim, vector in enumerate(vectors) if vector is not None]
    if not moving:
        return tensor.clone(memory_format=torch.contiguous_format)
    large = tensor.numel() > 2 * SLICE_ENTRIES and moving[-1] > 0
    if large and tensor.device.type == "cpu" and not tensor.requires_grad:
        return _select_in_slices(tensor.contiguous(), vectors)
    for dim, vector in enumerate(vectors):
        if vector is not None:
            tensor = tensor.index_select(dim, vector.to(tensor.device))
    return tensor


def _select_in_slices(tensor: Tensor, vectors: Sequence[Tensor | None]) -> Tensor:
    result = torch.empty_like(tensor)
    step = max(1, SLICE_ENTRIES // prod(tensor.shape[1:]))
    for start in range(0, len(tensor), step):
        part = tensor[start : start + step]
        if vectors[0] is not None:
            part = tensor.index_select(0, vectors[0][start : start + step])
        for dim, vector in enumerate(vectors[1:], start=1):
            if vector is not None:
                part = reorder(part, dim, vector.view(-1, *[1] * (tensor.dim() - dim - 1)))
        result[start : start + step] = part
    return result


def reorder(tensor: Tensor, axis: int, index: Tensor) -> Tensor:
    """Return a tensor with one axis in an order that may depend on the other axes.

    Equation: `new[..., i, ...] = old[..., index[..., i, ...], ...]`.

    Args:
        tensor: any dtype and device.
        axis: the axis to order, counted from 0.
        index: old positions along the axis, broadcastable to the tensor's shape; size 1 on
            every later axis that the order does not depend on.
    """
    lead, trail = tensor.shape[: axis + 1], tensor.shape[axis + 1 :]
    index = index.to(tensor.device)
    later = index.shape[index.dim() - len(trail) :]
    if prod(trail) < ROW_ENTRIES or any(size != 1 for size in later):
        return tensor.gather(axis, index.expand(tensor.shape))
    if index.numel() == lead[-1]:
        return tensor.index_select(axis, index.flatten())
    starts = torch.arange(prod(lead[:-1]), device=tensor.device) * lead[-1]
    rows = index.reshape(index.shape[: index.dim() - len(trail)]).expand(lead)
    rows = rows.reshape(len(starts), lead[-1]) + starts[:, None]
    return tensor.reshape(-1, *trail).index_select(0, rows.flatten()).view(tensor.shape)
