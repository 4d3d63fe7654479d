"""Sinkhorn's operator: from any matrix to a doubly stochastic one, with gradients.

The iteration (Sinkhorn, 1964) has two derivatives: unrolled through every round, and by the
implicit function theorem at the fixed point (Eisenberger et al., 2022), which stores no rounds.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Gradient: TypeAlias = Literal["implicit", "unrolled"]

RIDGE = 0.75
"""Power of the dtype's epsilon that is added to the diagonal of the implicit system.

The system is singular at a permutation matrix.
"""


def sinkhorn(
    logits: Float[Tensor, "... n n"], *, gradient: Gradient, num_rounds: int
) -> Float[Tensor, "... n n"]:
    r"""Return \(e^{x_{ij} + a_i + b_j}\), with a and b such that rows and columns sum to 1.

    Args:
        logits: finite logits.
        gradient: `implicit` or `unrolled`.
        num_rounds: number of normalizations of rows, then columns.

    Example:
        >>> sinkhorn(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), gradient="implicit", num_rounds=5)
        tensor([[0.9999, 0.0001],
                [0.0001, 0.9999]])
    """
    if gradient == "implicit":
        matrices = _Implicit.apply(logits, num_rounds)
        assert isinstance(matrices, Tensor)
        return matrices
    return _rounds(logits, num_rounds)


def _rounds(logits: Float[Tensor, "... n n"], num_rounds: int) -> Float[Tensor, "... n n"]:
    """Normalize rows and columns alternately: first in log space, then by factors.

    After the first round no row underflows to zero, and each further round takes two
    matrix-vector products.
    """
    logits = logits - logits.logsumexp(-1, keepdim=True)
    kernel = (logits - logits.logsumexp(-2, keepdim=True)).exp()
    columns = torch.ones_like(kernel[..., :1])
    rows = torch.ones_like(columns)
    for _ in range(num_rounds - 1):
        rows = 1 / (kernel @ columns)
        columns = 1 / (kernel.mT @ rows)
    return rows * kernel * columns.mT


class _Implicit(torch.autograd.Function):
    """The fixed point of the rounds and its derivative."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, num_rounds: int) -> Tensor:
        matrices = _rounds(logits, num_rounds)
        ctx.save_for_backward(matrices)
        return matrices

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (matrices,) = ctx.saved_tensors
        weighted = matrices * grad_outputs[0]
        rows, columns = _potentials(matrices, weighted.sum(-1), weighted.sum(-2))
        return weighted - matrices * (rows[..., :, None] + columns[..., None, :]), None


def _potentials(
    matrices: Float[Tensor, "... n n"],
    rows: Float[Tensor, "... n"],
    columns: Float[Tensor, "... n"],
) -> tuple[Float[Tensor, "... n"], Float[Tensor, "... n"]]:
    r"""Solve \(\begin{pmatrix} R & P \\ P^\top & C \end{pmatrix} (u, v) = (r, c)\).

    R and C are the sums of rows and columns. The solution is unique up to a constant that is added
    to u and subtracted from v; u sums to 0.
    """
    row_sums, column_sums = matrices.sum(-1), matrices.sum(-2)
    scaled = matrices / column_sums[..., None, :]
    ridge = torch.finfo(rows.dtype).eps ** RIDGE
    system = torch.diag_embed(row_sums + ridge) - scaled @ matrices.mT + 1 / rows.shape[-1]
    left = torch.linalg.solve(system, rows - (scaled @ columns[..., None])[..., 0])
    right = (columns - (matrices.mT @ left[..., None])[..., 0]) / column_sums
    return left, right
