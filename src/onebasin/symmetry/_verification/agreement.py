"""Comparison of two runs of a model: one relative difference per output tensor."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor

MASKED = 1e30
CANCELLED = 1e-12

MIN_MASK, MASK_RATIO, MASK_SPREAD, MAX_MASKS = 1e3, 1e3, 0.99, 4
"""A mask is larger than `MIN_MASK` and `MASK_RATIO` times larger than all other entries.

All entries with the same mask differ by at most the fraction `MASK_SPREAD`, because logits may
be added to a mask.
"""


def relative_differences(
    reference: Sequence[Tensor], others: Sequence[Tensor], least_sizes: Sequence[float] = ()
) -> list[float]:
    """Return the worst relative difference for each output tensor of two runs.

    An entry is compared relative to its own size or to the median size of its tensor,
    whichever is larger. The median excludes masks such as -1e9. Integers, booleans and
    infinities must be equal.

    Args:
        reference: the tensors of one run.
        others: the tensors of the other run, in the same order.
        least_sizes: for each tensor the minimum size that entries are compared with.

    Returns:
        For each tensor 0.0 if all entries are equal, and infinity if shapes, integers or
        infinities differ. All are infinite if the numbers of tensors differ.
    """
    if len(reference) != len(others):
        return [inf] * max(len(reference), len(others))
    return list(map(_difference, reference, others, least_sizes or [0.0] * len(reference)))


def max_relative_error(reference: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Return the maximum of the `relative_differences`, or 0.0 without tensors."""
    return max(relative_differences(reference, others), default=0.0)


def _difference(reference: Tensor, other: Tensor, least_size: float) -> float:
    if reference.shape != other.shape or reference.dtype != other.dtype:
        return inf
    if reference.is_complex():
        parts = torch.view_as_real(reference), torch.view_as_real(other)
        return _difference(*parts, least_size)
    differs = reference != other
    if not bool(differs.any()):
        return 0.0
    if not reference.is_floating_point():
        return inf
    scale = reference.abs().clamp(min=max(typical_size(reference), least_size))
    relative = ((reference - other).abs() / scale)[differs]
    return float(relative.nan_to_num(nan=inf, posinf=inf).max())


def typical_size(tensor: Tensor) -> float:
    """Return the median size of the entries that are neither masks nor left by cancellation."""
    sizes = _without_masks(tensor.abs().flatten())
    sizes = sizes[sizes > CANCELLED * sizes.max()] if sizes.numel() else sizes
    return float(sizes.median()) if sizes.numel() else 1.0


def _without_masks(sizes: Tensor) -> Tensor:
    sizes = sizes[sizes < MASKED]
    for _ in range(MAX_MASKS):
        top = float(sizes.max()) if sizes.numel() else 0.0
        rest = sizes[sizes < MASK_SPREAD * top]
        if top < MIN_MASK or not bool(rest.any()) or float(rest.max()) * MASK_RATIO > top:
            break
        sizes = rest
    return sizes
