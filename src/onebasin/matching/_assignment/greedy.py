"""Greedy assignment: the most similar pair first, then the next of what is left.

What He et al. (2018) and Entezari et al. (2022) use in place of an optimal assignment.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def assign_greedily(
    similarities: Float[Tensor, "b n n"], *, num_threads: int = 1
) -> Int[Tensor, "b n"]:
    """Return for every problem of a stack the permutation that a global sort gives.

    Of pairs that are equally similar, those of a unit with the one in its own place come first.

    Args:
        similarities: finite, on the CPU; row i is a unit of A, column j one of B.
        num_threads: not used: a sort is quick.

    Example:
        >>> assign_greedily(torch.tensor([[[3.0, 2.9], [2.0, 0.0]]]))
        tensor([[0, 1]])
    """
    found = [_greedy(problem.detach().numpy()) for problem in similarities]
    return torch.stack([torch.from_numpy(each) for each in found])


def _greedy(similarity: Float[np.ndarray, "n n"]) -> Int[np.ndarray, " n"]:
    size = len(similarity)
    found = np.full(size, -1)
    taken = np.zeros(size, dtype=bool)
    places = np.arange(size * size)
    stays = places % (size + 1) == 0
    places = np.concatenate((places[stays], places[~stays]))
    for place in places[np.argsort(-similarity.reshape(-1)[places], kind="stable")]:
        row, column = divmod(int(place), size)
        if found[row] < 0 and not taken[column]:
            found[row], taken[column] = column, True
    return found
