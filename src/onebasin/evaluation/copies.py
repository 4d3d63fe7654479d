"""Permuted copies of one network.

Their barriers come from the permutation symmetry alone. Entezari et al. (2022) compare them
with the barriers between independently trained networks.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from onebasin._checks import checks_arguments
from onebasin._random import generator_for
from onebasin.errors import ArgumentError, check_whole
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


@checks_arguments
def permuted_copies(
    symmetry: Symmetry, params: Mapping[str, Tensor], num_copies: int, *, seed: int = 0
) -> list[dict[str, Tensor]]:
    """Return copies of a network, each with a random permutation.

    This is the set S′ of the paper. Every copy and every group is drawn independently and
    uniformly. A copy depends on the seed and its number only, so more copies begin with the same
    ones.

    Args:
        symmetry: symmetry of the architecture.
        params: parameters and buffers of the network; not changed.
        num_copies: number of copies.
        seed: random seed.

    Returns:
        Parameters and buffers of each copy, without memory shared with the input.

    Raises:
        OneBasinError: `num_copies` is below 1, or the symmetry has no permutable units or does
            not match the parameters.
    """
    num_copies = check_whole("num_copies", num_copies, least=1)
    if not symmetry.groups:
        raise ArgumentError(
            "the symmetry has no permutable units; use an architecture with hidden units"
        )
    return [
        Permutation.random(symmetry, seed=_seed(seed, i)).apply(params) for i in range(num_copies)
    ]


def _seed(seed: int, number: int) -> int:
    """Return the seed of a copy; `seed + number` would repeat copies of other seeds."""
    return generator_for(seed, f"copy {number}").initial_seed()
