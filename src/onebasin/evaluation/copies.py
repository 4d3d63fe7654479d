"""Copies: networks that are one solution with its units in random orders.

Barriers between such copies are what a solution and its symmetry alone bring about; Entezari
et al. (2022) compare them with the barriers between networks trained apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin._random import generator_for
from onebasin.errors import OneBasinError, check_whole
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


@checks_arguments
def permuted_copies(
    symmetry: Symmetry, params: Mapping[str, Tensor], num_copies: int, *, seed: int = 0
) -> list[dict[str, Tensor]]:
    """Return copies of a network, each moved by a random permutation of its own.

    The set that the paper calls S′. Every copy and every group is drawn independently of all
    others, uniformly; a copy depends on the seed and its number only, so that more copies
    begin with the same ones.

    Args:
        symmetry: of the architecture.
        params: parameters and buffers of the solution; not changed.
        num_copies: how many.
        seed: same seed, same copies.

    Returns:
        Parameters and buffers of each copy; nothing in them shares memory with the input.

    Raises:
        OneBasinError: when no copy is asked for, or the symmetry does not fit the parameters
            or has nothing that can move.
    """
    num_copies = check_whole("permuted_copies", "num_copies", num_copies, least=1)
    if not symmetry.groups:
        raise OneBasinError(
            "permuted_copies: the symmetry has no group that can move, so every copy would be the "
            "same; use an architecture with hidden units"
        )
    return [
        Permutation.random(symmetry, seed=_seed(seed, i)).apply(params) for i in range(num_copies)
    ]


def _seed(seed: int, number: int) -> int:
    """Return a seed per copy; that of `seed + number` would repeat copies of other seeds."""
    return generator_for(seed, f"copy {number}").initial_seed()
