"""Random, well-conditioned elements of every class."""

from __future__ import annotations

from math import sqrt
from typing import TypeAlias

import torch
from torch import Generator, Tensor

from onebasin._random import generator_for
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

SPREAD = 0.5
"""Largest absolute value of the logarithm of a scale."""


Parts: TypeAlias = dict[str, Tensor]


def random_element(symmetry: Symmetry, seed: int) -> tuple[Permutation, Parts, Parts, Parts]:
    """Return the permutation, maps, scales and signs of a random transformation.

    Each group has its own random stream.
    """
    maps, scales, signs = Parts(), Parts(), Parts()
    indices = dict(Permutation.random(symmetry, seed=seed).indices)
    for name, action in symmetry.actions.items():
        generator = generator_for(seed, f"class of {name}")
        outer, size = symmetry.outer_shape(name), symmetry.size_of(name)
        if action.mixes:
            indices[name] = torch.arange(size).expand(*outer, size).contiguous()
            maps[name] = _map(action.symmetry_class, (*outer, size), generator)
        if action.scales:
            scales[name] = _scales((len(action.scales), *outer, size), generator)
        if action.signs:
            signs[name] = _signs((len(action.signs), *outer, size), generator)
    return Permutation(symmetry, indices), maps, scales, signs


def _map(name: str, shape: tuple[int, ...], generator: Generator) -> Tensor:
    if name == "orthogonal with ones":
        return with_ones(orthogonal((*shape[:-1], shape[-1] - 1), generator))
    first = orthogonal(shape, generator)
    if name == "orthogonal":
        return first
    return first @ (_scales(shape, generator).unsqueeze(-1) * orthogonal(shape, generator))


def orthogonal(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Return uniformly distributed orthogonal matrices, `(*shape, shape[-1])` in float64."""
    normal = torch.randn(*shape, shape[-1], generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def with_ones(inner: Tensor) -> Tensor:
    """Return orthogonal maps of `n` units that keep the ones, from maps of the other directions.

    Args:
        inner: maps `(*, n - 1, n - 1)` of the directions orthogonal to the vector of ones.
    """
    basis = complement_of_ones(inner.shape[-1] + 1).to(inner)
    size = basis.shape[0]
    return basis @ inner @ basis.mT + 1 / size


def complement_of_ones(size: int) -> Tensor:
    """Return an orthonormal basis of the vectors whose sum is zero, `(size, size - 1)`."""
    ones = torch.full((size, 1), 1 / sqrt(size), dtype=torch.float64)
    vectors = torch.cat([ones, torch.eye(size, dtype=torch.float64)[:, : size - 1]], 1)
    return torch.linalg.qr(vectors).Q[:, 1:]


def _scales(shape: tuple[int, ...], generator: Generator) -> Tensor:
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (SPREAD * (2 * uniform - 1)).exp()


def _signs(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator).double() * 2 - 1
