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
    batch, size = similarities.shape[:2]
    if batch == 1 or size == 1:
        return torch.stack([assign(similarity) for similarity in similarities])
    costs = np.ascontiguousarray(similarities.detach().neg().cpu().numpy())
    columns = lap.lapjvh_batch(costs, return_cost=False, n_threads=1)[1]
    return torch.from_numpy(np.stack(columns).astype(np.int64))


def picked(similarities: Float[Tensor, "b n n"], index: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Return for every problem the sum of the similarities that a permutation picks, in float64."""
    return similarities.gather(2, index[..., None]).double().sum(dim=(1, 2))
