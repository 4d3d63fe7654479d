"""Checks of the arguments that matchers have in common."""

from __future__ import annotations

from math import inf

from onebasin.errors import ArgumentError, check_whole, is_number
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


def check_counts(**counts: int) -> None:
    """Check counts, such as numbers of sweeps or starts.

    Args:
        **counts: counts by argument name.

    Raises:
        OneBasinError: a count is not an integer of at least 1.
    """
    for name, count in counts.items():
        check_whole(name, count, least=1)


def check_seed(seed: int) -> None:
    """Check a seed.

    Args:
        seed: the seed.

    Raises:
        OneBasinError: the seed is not a non-negative integer.
    """
    check_whole("seed", seed, least=0)


def check_learning_rate(learning_rate: float) -> None:
    """Check the learning rate of an optimizer.

    Args:
        learning_rate: the learning rate.

    Raises:
        OneBasinError: the learning rate is not positive and finite.
    """
    if not (is_number(learning_rate) and 0 < learning_rate < inf):
        raise ArgumentError(f"learning_rate must be positive and finite (got {learning_rate!r})")


def check_init(symmetry: Symmetry, init: Permutation | None) -> None:
    """Check that an initial permutation belongs to the symmetry.

    Args:
        symmetry: symmetry of the networks.
        init: the initial permutation, or None.

    Raises:
        OneBasinError: the permutation belongs to another symmetry.
    """
    if init is not None and init.symmetry.fingerprint != symmetry.fingerprint:
        raise ArgumentError(
            "init belongs to another symmetry; create it with the symmetry that you pass"
        )
