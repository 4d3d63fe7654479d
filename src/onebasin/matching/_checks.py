"""Checks: what matchers ask of their arguments before any work, each in one line."""

from __future__ import annotations

from math import inf

from onebasin.errors import OneBasinError, check_whole, is_number
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


def check_counts(call: str, **counts: int) -> None:
    """Check numbers of sweeps, starts and the like.

    Args:
        call: the public function that is running, for the message.
        **counts: by the names of its arguments.

    Raises:
        OneBasinError: when one is no whole number, or below 1.
    """
    for name, count in counts.items():
        check_whole(call, name, count, least=1)


def check_seed(call: str, seed: int) -> None:
    """Check a seed.

    Args:
        call: the public function that is running, for the message.
        seed: what was given.

    Raises:
        OneBasinError: when it is no whole number, or below 0.
    """
    check_whole(call, "seed", seed, least=0)


def check_learning_rate(call: str, learning_rate: float) -> None:
    """Check the learning rate of an optimizer.

    Args:
        call: the public function that is running, for the message.
        learning_rate: to be positive and finite.

    Raises:
        OneBasinError: when it is not.
    """
    if not (is_number(learning_rate) and 0 < learning_rate < inf):
        raise OneBasinError(
            f"{call}: learning_rate must be positive and finite, not {learning_rate!r}"
        )


def check_init(symmetry: Symmetry, init: Permutation | None, call: str) -> None:
    """Check that a permutation to begin at is of the symmetry.

    Args:
        symmetry: that is matched.
        init: None for none.
        call: the public function that is running, for the message.

    Raises:
        OneBasinError: when it is of another one.
    """
    if init is not None and init.symmetry.fingerprint != symmetry.fingerprint:
        raise OneBasinError(
            f"{call}: init is a permutation of another symmetry; make it with the symmetry"
            " that is given"
        )
