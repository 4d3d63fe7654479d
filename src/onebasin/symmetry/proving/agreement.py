"""Agreement: how far two runs of a model are apart, as one number."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

MASKED = 1e30
CANCELLED = 1e-12


def disagreement(reference: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Return the worst relative difference between the outputs of two runs.

    An entry is compared relative to itself or to the median entry of its tensor, whichever
    is larger. Integers, booleans and infinities must be equal.

    Args:
        reference: the tensors of one run.
        others: the tensors of the other run, in the same order.

    Returns:
        0.0 where all are equal, infinity where shapes, integers or infinities differ.
    """
    if len(reference) != len(others):
        return inf
    return max(map(_difference, reference, others), default=0.0)


def _difference(reference: Tensor, other: Tensor) -> float:
    if reference.shape != other.shape or reference.dtype != other.dtype:
        return inf
    if reference.is_complex():
        return _difference(torch.view_as_real(reference), torch.view_as_real(other))
    differs = reference != other
    if not bool(differs.any()):
        return 0.0
    if not reference.is_floating_point():
        return inf
    scale = reference.abs().clamp(min=_typical(reference))
    relative = ((reference - other).abs() / scale)[differs]
    return float(relative.nan_to_num(nan=inf, posinf=inf).max())


def _typical(tensor: Tensor) -> float:
    """The median size of the entries that are neither masks nor what cancellation left."""
    sizes = tensor.abs()
    sizes = sizes[sizes < MASKED]
    sizes = sizes[sizes > CANCELLED * sizes.max()] if sizes.numel() else sizes
    return float(sizes.median()) if sizes.numel() else 1.0
