"""Checks of the arguments that matchers have in common."""

from __future__ import annotations

from math import inf

from onebasin.errors import OneBasinError, check_whole, is_number
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


def check_counts(call: str, **counts: int) -> None:
    """Check counts, such as numbers of sweeps or starts.

    Args:
        call: name of the public function, for messages.
        **counts: counts by argument name.

    Raises:
        OneBasinError: a count is not an integer of at least 1.
    """
    for name, count in counts.items():
        check_whole(call, name, count, least=1)


def check_seed(call: str, seed: int) -> None:
    """Check a seed.

    Args:
        call: name of the public function, for messages.
        seed: the seed.

    Raises:
        OneBasinError: the seed is not a non-negative integer.
    """
    check_whole(call, "seed", seed, least=0)


def check_learning_rate(call: str, learning_rate: float) -> None:
    """Check the learning rate of an optimizer.

    Args:
        call: name of the public function, for messages.
        learning_rate: the learning rate.

    Raises:
        OneBasinError: the learning rate is not positive and finite.
    """
    if not (is_number(learning_rate) and 0 < learning_rate < inf):
        raise OneBasinError(
            f"{call}: learning_rate must be positive and finite (got {learning_rate!r})"
        )


def check_init(symmetry: Symmetry, init: Permutation | None, call: str) -> None:
    """Check that an initial permutation belongs to the symmetry.

    Args:
        symmetry: symmetry of the networks.
        init: the initial permutation, or None.
        call: name of the public function, for messages.

    Raises:
        OneBasinError: the permutation belongs to another symmetry.
    """
    if init is not None and init.symmetry.fingerprint != symmetry.fingerprint:
        raise OneBasinError(
            f"{call}: init belongs to another symmetry; create it with the symmetry that you pass"
        )
