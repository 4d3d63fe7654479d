"""Best orthogonal maps and signs for given similarities."""

from __future__ import annotations

from collections.abc import Mapping
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


NUM_ENUMERATED = 3
"""Number of signs of a unit whose values are enumerated; the others follow one by one."""

NUM_ROUNDS = 2
"""Number of rounds over the signs that are not enumerated."""


def best_signs(parts: Mapping[tuple[int, ...], Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
    """Return the largest sums of parts over the signs of every entry, and the signs.

    Exact for up to `NUM_ENUMERATED` signs, and if the other signs do not occur together.

    Args:
        parts: summands by the numbers of the signs that change them; all of one shape.

    Returns:
        The sums, and 1 or -1 for each number.
    """
    numbers = sorted({number for odd in parts for number in odd})
    some = next(iter(parts.values()))
    best, found = some, dict[int, Tensor]()
    for start in product((1.0, -1.0), repeat=min(NUM_ENUMERATED, len(numbers))):
        signs = {
            number: torch.full_like(some, start[place] if place < len(start) else 1.0)
            for place, number in enumerate(numbers)
        }
        for number in numbers[len(start) :] * NUM_ROUNDS:
            own = {odd: each for odd, each in parts.items() if number in odd}
            flip = torch.where(_signed_sum(own, signs) < 0, -1.0, 1.0)
            signs[number] = signs[number] * flip
        total = _signed_sum(parts, signs)
        if not found and all(value > 0 for value in start):
            best, found = total, signs
            continue
        better = total > best
        best = torch.where(better, total, best)
        found = {number: torch.where(better, signs[number], found[number]) for number in numbers}
    return best, found


def _signed_sum(parts: Mapping[tuple[int, ...], Tensor], signs: Mapping[int, Tensor]) -> Tensor:
    total: Tensor | None = None
    for odd, values in parts.items():
        for number in odd:
            values = values * signs[number]
        total = values if total is None else total + values
    assert total is not None
    return total
