"""Best orthogonal maps and signs for given similarities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from onebasin.symmetry._random_elements import complement_of_ones, with_ones


def best_value(similarities: Float[Tensor, "b n n"], *, keeps_ones: bool) -> Float64[Tensor, " b"]:
    """Return the largest inner product of the similarities with an orthogonal map.

    It is the sum of the singular values (orthogonal Procrustes, Schönemann 1966).

    Args:
        similarities: similarities of n units of both networks.
        keeps_ones: whether the map keeps the vector of ones.
    """
    if not keeps_ones:
        return torch.linalg.svdvals(similarities).double().sum(-1)
    inner, ones = _without_ones(similarities.double())
    return torch.linalg.svdvals(inner).sum(-1) + ones


def best_map(
    similarities: Float[Tensor, "*b n n"], *, keeps_ones: bool
) -> Float64[Tensor, "*b n n"]:
    """Return the orthogonal map with the largest inner product with the similarities."""
    values = similarities.double()
    if keeps_ones:
        return with_ones(best_map(_without_ones(values)[0], keeps_ones=False))
    left, _, right = torch.linalg.svd(values)
    return left @ right


def _without_ones(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return similarities orthogonal to the vector of ones, and that of the vector itself."""
    basis = complement_of_ones(values.shape[-1])
    return basis.mT @ values @ basis, values.mean((-2, -1))


def best_signed(parts: Mapping[Sequence[int], Tensor]) -> Tensor:
    """Return the largest similarities over the signs of every pair of units.

    Args:
        parts: similarities by the numbers of the signs that change them.
    """
    numbers = sorted({number for odd in parts for number in odd})
    best: Tensor | None = None
    for signs in product((1, -1), repeat=len(numbers)):
        sign = dict(zip(numbers, signs, strict=True))
        total = None
        for odd, values in parts.items():
            factor = 1
            for number in odd:
                factor *= sign[number]
            total = factor * values if total is None else total + factor * values
        assert total is not None
        best = total if best is None else torch.maximum(best, total)
    assert best is not None
    return best
