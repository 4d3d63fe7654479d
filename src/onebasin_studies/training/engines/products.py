"""Batched matrix products of the linear layers of many networks.

Large float32 products on a CPU use oneDNN, one network after the other. On processors of other
vendors than Intel it can be twice as fast as MKL, which `torch.bmm` uses.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

ONEDNN_WORK = 3_000_000
"""Multiplications per product above which one oneDNN call per network is faster."""


def multiply(left: Tensor, right: Tensor, out: Tensor, *, start: Tensor | None = None) -> None:
    """Write the matrix products of all networks, `(n, i, k)` times `(n, k, j)`.

    Args:
        left: left factors.
        right: right factors.
        out: the output, `(n, i, j)`.
        start: summands, `(n, 1, j)` or `(n, i, 1)`.
    """
    work = left.shape[1] * left.shape[2] * right.shape[2]
    if work >= ONEDNN_WORK and left.device.type == "cpu" and left.dtype == torch.float32:
        if _has_onednn():
            _multiply_each(left, right, out, start)
            return
    if start is None:
        torch.bmm(left, right, out=out)
    else:
        torch.baddbmm(start, left, right, out=out)


def _multiply_each(left: Tensor, right: Tensor, out: Tensor, start: Tensor | None) -> None:
    linear = torch.ops.mkldnn._linear_pointwise
    # One copy for all networks: the operator would copy each transposed factor separately.
    left, weights, bias = left.contiguous(), right.transpose(1, 2), None
    is_per_column = start is not None and start.shape[1] == 1
    for row in range(len(left)):
        if is_per_column:
            assert start is not None
            bias = start[row, 0]
        out[row] = linear(left[row], weights[row], bias, "none", [], "")
    if start is not None and not is_per_column:
        out.add_(start)


@cache
def _has_onednn() -> bool:
    """Return whether PyTorch's private oneDNN linear operator exists and works as documented.

    PyTorch's compiler emits it, but it is not a public interface.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    left, weight = (torch.randn(4, 8, generator=generator) for _ in range(2))
    try:
        found = torch.ops.mkldnn._linear_pointwise(left, weight, weight[0, :4], "none", [], "")
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(found, left @ weight.T + weight[0, :4], atol=1e-5)
