"""Greedy assignment: repeatedly match the most similar remaining pair.

He et al. (2018) and Entezari et al. (2022) use it instead of an optimal assignment.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def greedy_assignment(
    similarities: Float[Tensor, "b n n"], *, num_threads: int = 1
) -> Int[Tensor, "b n"]:
    """Return the greedy permutation of every problem in a stack.

    Ties prefer the pairs on the diagonal.

    Args:
        similarities: finite similarities on the CPU; row i is a unit of A, column j one of B.
        num_threads: ignored; for the interface of `assign_many`.

    Example:
        >>> greedy_assignment(torch.tensor([[[3.0, 2.9], [2.0, 0.0]]]))
        tensor([[0, 1]])
    """
    indices = [_greedy(problem.detach().numpy()) for problem in similarities]
    return torch.stack([torch.from_numpy(index) for index in indices])


def _greedy(similarity: Float[np.ndarray, "n n"]) -> Int[np.ndarray, " n"]:
    size = len(similarity)
    index = np.full(size, -1)
    taken = np.zeros(size, dtype=bool)
    pairs = np.arange(size * size)
    is_diagonal = pairs % (size + 1) == 0
    pairs = np.concatenate((pairs[is_diagonal], pairs[~is_diagonal]))
    for pair in pairs[np.argsort(-similarity.reshape(-1)[pairs], kind="stable")]:
        row, column = divmod(int(pair), size)
        if index[row] < 0 and not taken[column]:
            index[row], taken[column] = column, True
    return index
