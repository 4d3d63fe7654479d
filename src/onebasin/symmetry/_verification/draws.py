"""Random permutations that move every unit, for verification.

A uniformly random permutation of two units is the identity half of the time and tests
nothing. The permutations here move every group. For a small group, two of them generate
all permutations.
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
MAX_UNIFORM = 6


def random_cyclic_permutation(symmetry: Symmetry, *, seed: int) -> Permutation:
    """Return a permutation in which every row of every group is one random cycle."""
    indices = {}
    for name, order in Permutation.random(symmetry, seed=seed).indices.items():
        indices[name] = torch.empty_like(order).scatter_(-1, order, order.roll(1, -1))
    return Permutation(symmetry, indices)


def random_transpositions(symmetry: Symmetry, *, seed: int) -> Permutation:
    """Return a random permutation that only transposes two units in rows of at most `SMALL` units.

    The two units are neighbors in the cycle of `random_cyclic_permutation` with the same seed, so
    the two permutations generate all permutations of the row. For a larger row, one of the two
    permutations is odd.
    """
    indices = dict(Permutation.random(symmetry, seed=seed).indices)
    for name, cycle in random_cyclic_permutation(symmetry, seed=seed).indices.items():
        size = cycle.shape[-1]
        if 1 < size <= SMALL:
            indices[name] = _exchanges(cycle, generator_for(seed, f"exchange {name}"))
        elif size > SMALL and size % 2:  # the cycle is even
            indices[name] = _odd(indices[name])
    return Permutation(symmetry, indices)


def uniform_draws(symmetry: Symmetry, *, seed: int) -> list[Permutation]:
    """Return random permutations that move some tiny rows and keep the others.

    They detect tiny rows that must be permuted together: the other permutations swap all
    rows of two units at once. The list is empty if at most one row is tiny.
    """
    num_rows = sum(
        prod(symmetry.outer_shape(name))
        for name, group in symmetry.groups.items()
        if 1 < group.size <= TINY
    )
    count = min(MAX_UNIFORM, 2 + num_rows.bit_length()) if num_rows > 1 else 0
    return [Permutation.random(symmetry, seed=seed + i) for i in range(1, 1 + count)]


def _odd(order: Tensor) -> Tensor:
    """Return permutations `(..., n)` with the first two units of each even one swapped."""
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


def restrict_permutation(permutation: Permutation, groups: Collection[str]) -> Permutation:
    """Return a permutation that equals another one on some groups and is the identity elsewhere."""
    identity = Permutation.identity(permutation.symmetry).indices
    indices = {
        name: index if name in groups else identity[name]
        for name, index in permutation.indices.items()
    }
    return Permutation(permutation.symmetry, indices)
