"""Enumeration of all permutations of a symmetry by swaps of neighbors.

The units of one group are enumerated in the order of Steinhaus, Johnson and Trotter. Several
groups are the digits of a reflected Gray code, with nested groups as the fastest digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial, prod

import numpy as np
from jaxtyping import Int, Int32

from onebasin.errors import OneBasinError
from onebasin.matching._annealing.swaps import Column, Steps, columns_of
from onebasin.symmetry.symmetry import Symmetry


@dataclass(frozen=True)
class Digit:
    """The units of a group at one outer position.

    Args:
        column: number of the group's column.
        row: the outer position.
    """

    column: int
    row: int


class Enumeration:
    """All permutations of one network, as steps from the identity.

    Args:
        symmetry: symmetry of the network.
        network: number of the network.
        limit: maximum number of permutations.
        call: name of the public function, for messages.

    Raises:
        OneBasinError: there are more permutations.
    """

    def __init__(self, symmetry: Symmetry, *, network: int, limit: int, call: str) -> None:
        """Count the permutations and order the digits."""
        self.columns: tuple[Column, ...] = columns_of(symmetry, [network])
        self.size = prod(factorial(column.size) ** column.rows for column in self.columns)
        if self.size > limit:
            shown = f"{self.size:,}" if self.size < 10**15 else f"10^{symmetry.log10_order:.1f}"
            raise OneBasinError(
                f"{call}: the symmetry has {shown} permutations, above the limit of {limit:,}; use "
                "another matcher, or increase limit"
            )
        # Nested groups come after their outer groups and must be the faster digits. Otherwise
        # some of their permutations are skipped.
        fast_first = reversed(list(enumerate(self.columns)))
        self.digits = [Digit(at, row) for at, c in fast_first for row in range(c.rows)]
        self._turns = self._interleaved()

    def __len__(self) -> int:
        """Return the number of steps, one less than the number of permutations."""
        return self.size - 1

    def _interleaved(self) -> Int32[np.ndarray, "s 2"]:
        """Return the digit and the first position of the swap of every step."""
        turns = np.empty((0, 2), dtype=np.int32)
        for number, digit in enumerate(self.digits):
            own = adjacent_swaps(self.columns[digit.column].size)
            slow = np.stack((np.full(len(own), number, np.int32), own), axis=1)
            turns = interleave(turns, slow)
        return turns

    def steps(self, start: int, stop: int) -> Steps:
        """Return some of the steps; all are accepted."""
        turns = self._turns[start:stop]
        swaps = np.full((len(turns), len(self.columns), 3), -1, dtype=np.int64)
        columns = np.array([digit.column for digit in self.digits])[turns[:, 0]]
        rows = np.array([digit.row for digit in self.digits])[turns[:, 0]]
        positions = np.stack((rows, turns[:, 1], turns[:, 1] + 1), axis=1)
        swaps[np.arange(len(turns)), columns] = positions
        ones = np.ones(len(turns))
        return Steps(self.columns, swaps, np.zeros(len(turns)), np.inf * ones)


def interleave(
    fast: Int[np.ndarray, " m *step"], slow: Int[np.ndarray, " n *step"]
) -> Int[np.ndarray, " (m+1)*(n+1)-1 *step"]:
    """Return the fast steps, a slow one, the fast ones backwards, a slow one, and so on.

    Args:
        fast: steps that are their own inverses.
        slow: other steps.
    """
    rounds = np.empty((len(slow) + 1, len(fast) + 1, *slow.shape[1:]), dtype=slow.dtype)
    rounds[0::2, :-1], rounds[1::2, :-1] = fast, fast[::-1]
    rounds[:-1, -1] = slow
    return rounds.reshape(-1, *slow.shape[1:])[:-1]


def adjacent_swaps(size: int) -> Int32[np.ndarray, " s"]:
    """Return the swaps of neighbors that visit all permutations of some units once.

    Returns:
        The first position of each of the `size! - 1` swaps.

    Example:
        >>> adjacent_swaps(3).tolist()
        [1, 0, 1, 0, 1]
    """
    swaps = np.empty(0, dtype=np.int32)
    for last in range(1, size):
        # The last unit moves from right to left and back. While it is leftmost, the others
        # are shifted to the right by one.
        sweep = np.arange(last - 1, -1, -1, dtype=np.int32)
        others = swaps + (np.arange(len(swaps)) % 2 == 0)
        swaps = interleave(sweep, others.astype(np.int32))
    return swaps
