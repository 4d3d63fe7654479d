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
    """Return a random permutation; a row of few units exchanges just two of them."""
    indices = dict(Permutation.random(symmetry, seed=seed).indices)
    for name, order in indices.items():
        if 1 < order.shape[-1] <= SMALL:
            indices[name] = _exchanges(order, generator_for(seed, f"exchange {name}"))
    return Permutation(symmetry, indices)


def _exchanges(order: Tensor, generator: torch.Generator) -> Tensor:
    keys = torch.rand(order.shape, generator=generator, dtype=torch.float64)
    first, second = keys.argsort(dim=-1)[..., :2].split(1, dim=-1)
    index = torch.arange(order.shape[-1]).expand(order.shape).clone()
    return index.scatter_(-1, first, second).scatter_(-1, second, first)


def restrict(permutation: Permutation, groups: Collection[str]) -> Permutation:
    """Return a permutation that acts as another does on some groups, and not on the rest."""
    still = Permutation.identity(permutation.symmetry).indices
    indices = {
        name: index if name in groups else still[name]
        for name, index in permutation.indices.items()
    }
    return Permutation(permutation.symmetry, indices)
