"""Draws: permutations that leave no unit in place, for proofs.

A uniformly random order of two units is the identity half of the time and proves nothing
then. The draws here move every group, and two of them generate all orders of a small one.
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod

import torch
from torch import Tensor

from onebasin._random import generator_for
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

SMALL = 16
TINY = 3
MOST_UNIFORM = 6


def random_cycles(symmetry: Symmetry, *, seed: int) -> Permutation:
    """Return a permutation in which every row of every group is one random long cycle."""
    indices = {}
    for name, order in Permutation.random(symmetry, seed=seed).indices.items():
        indices[name] = torch.empty_like(order).scatter_(-1, order, order.roll(1, -1))
    return Permutation(symmetry, indices)


def random_transpositions(symmetry: Symmetry, *, seed: int) -> Permutation:
    """Return a random permutation; a row of at most `SMALL` units only exchanges two of them.

    They are neighbors in the cycle that `random_cycles` makes of the row with the same seed:
    the two draws then generate all its orders. One of the two is odd in a larger row.
    """
    indices = dict(Permutation.random(symmetry, seed=seed).indices)
    for name, cycle in random_cycles(symmetry, seed=seed).indices.items():
        size = cycle.shape[-1]
        if 1 < size <= SMALL:
            indices[name] = _exchanges(cycle, generator_for(seed, f"exchange {name}"))
        elif size > SMALL and size % 2:  # the cycle is even
            indices[name] = _odd(indices[name])
    return Permutation(symmetry, indices)


def uniform_draws(symmetry: Symmetry, *, seed: int) -> list[Permutation]:
    """Return random permutations that move some of the tiny rows and not the others.

    They find tiny rows that must move together: the other draws exchange all rows of two
    units at once. Empty if at most one row is tiny.
    """
    num_rows = sum(
        prod(symmetry.outer_shape(name))
        for name, group in symmetry.groups.items()
        if 1 < group.size <= TINY
    )
    count = min(MOST_UNIFORM, 2 + num_rows.bit_length()) if num_rows > 1 else 0
    return [Permutation.random(symmetry, seed=seed + i) for i in range(1, 1 + count)]


def _odd(order: Tensor) -> Tensor:
    """Return orders `(..., n)` in which those that are even have their first two units swapped."""
    flat = order.reshape(-1, order.shape[-1]).clone()
    for row in flat:
        if not _is_odd(row.tolist()):
            row[:2] = row[:2].flip(0)
    return flat.reshape(order.shape)


def _is_odd(order: list[int]) -> bool:
    num_cycles, seen = 0, [False] * len(order)
    for start in range(len(order)):
        num_cycles += not seen[start]
        while not seen[start]:
            seen[start] = True
            start = order[start]
    return (len(order) - num_cycles) % 2 == 1


def _exchanges(cycle: Tensor, generator: torch.Generator) -> Tensor:
    shape, size = cycle.shape[:-1], cycle.shape[-1]
    first = torch.randint(size, (*shape, 1), generator=generator)
    second = cycle.gather(-1, first)
    index = torch.arange(size).expand(cycle.shape).clone()
    return index.scatter_(-1, first, second).scatter_(-1, second, first)


def restrict(permutation: Permutation, groups: Collection[str]) -> Permutation:
    """Return a permutation that acts as another does on some groups, and not on the rest."""
    still = Permutation.identity(permutation.symmetry).indices
    indices = {
        name: index if name in groups else still[name]
        for name, index in permutation.indices.items()
    }
    return Permutation(permutation.symmetry, indices)
