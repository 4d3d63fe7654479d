"""Checks: what matchers ask of their arguments before any work, each in one line."""

from __future__ import annotations

from collections.abc import Iterable

from onebasin.errors import OneBasinError
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


def check_counts(call: str, **counts: int) -> None:
    """Check numbers of sweeps, starts and the like.

    Args:
        call: the public function that is running, for the message.
        **counts: by the names of its arguments.

    Raises:
        OneBasinError: when one is below 1.
    """
    if min(counts.values()) < 1:
        raise OneBasinError(
            f"{call}: {_listed(counts)} must be at least 1, not {_listed(counts.values())}"
        )


def check_learning_rate(call: str, learning_rate: float) -> None:
    """Check the learning rate of an optimizer.

    Args:
        call: the public function that is running, for the message.
        learning_rate: to be positive and finite.

    Raises:
        OneBasinError: when it is not.
    """
    if not 0 < learning_rate < float("inf"):
        raise OneBasinError(
            f"{call}: learning_rate must be positive and finite, not {learning_rate:g}"
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


def _listed(values: Iterable[object]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} and {last}" if first else last
