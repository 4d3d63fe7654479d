"""Grouped matrix products in any precision, as used by mixtures of experts."""

from __future__ import annotations

import torch
from torch import Tensor


def grouped_product(
    mat_a: Tensor,
    mat_b: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the result of `aten._grouped_mm`, which only has kernels for low precision.

    A matrix without a group dimension is split at `offs`. If both matrices have a group
    dimension, the result is a batched product.

    Args:
        mat_a: `(g, m, k)`, or `(rows, k)` split by rows, or `(m, k)` split by columns.
        mat_b: `(g, k, n)`, or `(k, columns)` split by columns, or `(k, n)` split by rows.
        offs: end offsets of the pieces `(g,)`.
        bias: added to the result.
        out_dtype: ignored; the result has the precision of the matrices.
    """
    if mat_a.dim() == mat_b.dim() == 3:
        product = mat_a @ mat_b
    else:
        assert offs is not None, "one matrix has no group dimension and no offsets"
        product = _product_of_pieces(mat_a, mat_b, offs.tolist())
    return product if bias is None else product + bias


def _product_of_pieces(mat_a: Tensor, mat_b: Tensor, ends: list[int]) -> Tensor:
    pieces = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    if mat_a.dim() == mat_b.dim() == 2:
        return torch.stack([mat_a[:, piece] @ mat_b[piece] for piece in pieces])
    if mat_a.dim() == 2:
        result = mat_a.new_zeros(mat_a.shape[0], mat_b.shape[2])
        for piece, matrix in zip(pieces, mat_b, strict=True):
            result[piece] = mat_a[piece] @ matrix
        return result
    result = mat_a.new_zeros(mat_a.shape[1], mat_b.shape[1])
    for piece, matrix in zip(pieces, mat_a, strict=True):
        result[:, piece] = matrix @ mat_b[:, piece]
    return result
