"""Grouped matrix products in any precision: what mixtures of experts are computed with."""

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
    """Return what `aten._grouped_mm` defines, which has kernels for low precision only.

    A matrix without a group dimension is cut where `offs` says; with one on each side it
    is a batch of products.

    Args:
        mat_a: `(g, m, k)`, or `(rows, k)` cut into rows, or `(m, k)` cut into columns.
        mat_b: `(g, k, n)`, or `(k, columns)` cut into columns, or `(k, n)` cut into rows.
        offs: `(g,)`, where each piece ends.
        bias: added to the result.
        out_dtype: ignored: the result has the precision of the matrices.
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
