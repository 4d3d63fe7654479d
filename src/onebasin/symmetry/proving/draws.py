"""Draws: permutations that leave no unit in place, for proofs.

A uniformly random order of two units is the identity half of the time and proves nothing
then. The draws here move every group, and two of them generate all orders of a small one.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.seeds import generator_for
from onebasin.symmetry.symmetry import Symmetry

SMALL = 4


def draw_cycles(symmetry: Symmetry, *, seed: int) -> Permutation:
    """Return a permutation in which every row of every group is one random long cycle."""
    indices = {}
    for name, order in Permutation.random(symmetry, seed=seed).indices.items():
        indices[name] = torch.empty_like(order).scatter_(-1, order, order.roll(1, -1))
    return Permutation(symmetry, indices)


def draw_exchanges(symmetry: Symmetry, *, seed: int) -> Permutation:
    """Return a random permutation; a row of few units only exchanges two neighbours.

    They are neighbours in the cycle that `draw_cycles` makes of the row with the same seed:
    the two draws then generate all its orders.
    """
    indices = dict(Permutation.random(symmetry, seed=seed).indices)
    for name, cycle in draw_cycles(symmetry, seed=seed).indices.items():
        if 1 < cycle.shape[-1] <= SMALL:
            indices[name] = _exchanges(cycle, generator_for(seed, f"exchange {name}"))
    return Permutation(symmetry, indices)


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
