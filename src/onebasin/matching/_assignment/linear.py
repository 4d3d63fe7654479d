"""Linear assignment: exact, or greedy.

All matchers use one solver: shortest augmenting paths (Jonker and Volgenant, 1987), as
implemented by `lapx`. This module handles constant rows (dead units) and batches of small
problems.

He et al. (2018) and Entezari et al. (2022) use it instead of an optimal assignment.
"""

from __future__ import annotations

import lap
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


LARGE = 128
"""Smallest problem size that is normalized before it is solved."""


def assign(similarity: Float[Tensor, "n n"]) -> Int[Tensor, " n"]:
    """Return the permutation `index` that maximizes `sum_i similarity[i, index[i]]`.

    Optimal up to rounding in the similarity's dtype. Constant rows and columns (dead units) are
    left out of the problem and assigned at the end. They would slow the solver down a
    hundredfold.

    Args:
        similarity: finite similarities on the CPU; row i is a unit of A, column j one of B.

    Returns:
        The column of every row.

    Example:
        >>> assign(torch.tensor([[0.0, 2.0], [1.0, 2.5]]))
        tensor([1, 0])
    """
    values = similarity.detach()
    rows, columns = _varied(values.numpy()), _varied(values.numpy().T)
    if len(rows) == len(columns) == len(values):
        return torch.from_numpy(_solve(_cost(values)))
    cost = np.negative(values.numpy())
    if len(rows) <= len(columns):
        return torch.from_numpy(_assign_rows(cost, rows))
    return torch.from_numpy(_assign_rows(cost.T, columns)).argsort()


def assign_many(
    similarities: Float[Tensor, "b n n"], *, num_threads: int = 1
) -> Int[Tensor, "b n"]:
    """Return `assign` of every problem in a stack.

    Args:
        similarities: finite similarities on the CPU.
        num_threads: number of threads; results do not depend on it.
    """
    batch, size = similarities.shape[:2]
    if size == 1 or batch == 0:
        return torch.zeros(batch, size, dtype=torch.int64)
    if batch == 1 or size >= LARGE:
        return torch.stack([assign(similarity) for similarity in similarities])
    costs = np.negative(similarities.detach().numpy())
    # Threads do not pay off for small stacks.
    threads = num_threads if costs.size > 2**20 else 1
    _, columns = lap.lapjvh_batch(costs, return_cost=False, n_threads=threads)
    return torch.from_numpy(np.stack(columns))


def _cost(similarity: Float[Tensor, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return the costs: minus the similarity, normalized for large problems.

    Half the maximum of its row and half that of its column are added to every entry. The best
    assignment stays the same, and the solver starts near its final potentials. This halves the
    time on unrelated networks, and saves more if units differ much in size.
    """
    if len(similarity) < LARGE:
        return np.negative(similarity.numpy())
    rows, columns = similarity.amax(dim=1, keepdim=True), similarity.amax(dim=0, keepdim=True)
    return torch.sub(rows / 2, similarity).add_(columns / 2).numpy()


def _solve(cost: Float[np.ndarray, "r n"]) -> Int[np.ndarray, " r"]:
    """Return the best column of every row."""
    _, columns = lap.lapjvh(np.ascontiguousarray(cost), extend_cost=True, return_cost=False)
    return columns


def _varied(cost: Float[np.ndarray, "n n"]) -> Int[np.ndarray, " r"]:
    """Return the rows that are not constant, after a quick check of three columns."""
    first, second, last = cost[:, 0], cost[:, 1 % len(cost)], cost[:, -1]
    suspects = np.flatnonzero((first == second) & (first == last))
    constant = suspects[(cost[suspects] == cost[suspects, :1]).all(axis=1)]
    return np.delete(np.arange(len(cost)), constant)


def _assign_rows(
    cost: Float[np.ndarray, "n n"], rows: Int[np.ndarray, " r"]
) -> Int[np.ndarray, " n"]:
    """Assign some rows to the best columns, and the others in order to the remaining columns."""
    order = np.full(len(cost), -1, dtype=np.int64)
    order[rows] = _solve(cost[rows])
    order[order < 0] = np.setdiff1d(np.arange(len(cost)), order)
    return order
