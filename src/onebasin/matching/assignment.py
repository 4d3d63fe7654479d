"""Assignment: the permutation that maximises the sum of the similarities it picks.

One exact solver for all matchers: shortest augmenting paths (Jonker and Volgenant, 1987)
as implemented by `lapx`, in the precision of the similarity.
"""

from __future__ import annotations

import lap
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def assign(similarity: Float[Tensor, "n n"]) -> Int[Tensor, " n"]:
    """Return the permutation `index` that maximises `sum_i similarity[i, index[i]]`.

    Args:
        similarity: finite similarities, shape `(n, n)`; row i is a unit of A, column j of B.

    Returns:
        For every row its column, shape `(n,)`, int64 on the CPU.

    Example:
        >>> assign(torch.tensor([[0.0, 2.0], [1.0, 2.5]]))
        tensor([1, 0])
    """
    size = similarity.shape[0]
    if size == 1:
        return torch.zeros(1, dtype=torch.int64)
    cost = np.ascontiguousarray(similarity.detach().neg().cpu().numpy())
    columns = lap.lapjvh(cost, return_cost=False)[1]
    return torch.from_numpy(columns.astype(np.int64))


def assign_many(similarities: Float[Tensor, "b n n"]) -> Int[Tensor, "b n"]:
    """Return `assign` of every problem in a batch, shape `(b, n)`."""
    return torch.stack([assign(similarity) for similarity in similarities])


def picked(similarity: Float[Tensor, "n n"], index: Int[Tensor, " n"]) -> float:
    """Return the sum of the similarities that a permutation picks, in float64."""
    return float(similarity.gather(1, index[:, None]).double().sum())
