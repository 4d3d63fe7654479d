"""Enumerations: all permutations of a symmetry, each one swap of neighbors from the last.

Steinhaus, Johnson and Trotter's order for the units of one group. Several groups turn like the
wheels of a counter that runs back and forth, those that nest in others fastest.
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
class Wheel:
    """The units of a group at one outer position.

    Args:
        column: of the group.
        row: the outer position.
    """

    column: int
    row: int


class Enumeration:
    """All permutations of one network of several, as steps from the identity.

    Args:
        symmetry: of the network.
        network: its number.
        limit: how many permutations there may be.
        call: the public function that is running, for messages.

    Raises:
        OneBasinError: when there are more.
    """

    def __init__(self, symmetry: Symmetry, *, network: int, limit: int, call: str) -> None:
        """Count the permutations, and lay out the wheels; no step is made yet."""
        self.columns: tuple[Column, ...] = columns_of(symmetry, [network])
        self.size = prod(factorial(column.size) ** column.rows for column in self.columns)
        if self.size > limit:
            shown = f"{self.size:,}" if self.size < 10**15 else f"10^{symmetry.log10_order:.1f}"
            raise OneBasinError(
                f"{call}: there are {shown} permutations, more than the limit of {limit:,}; use "
                "another matcher, or raise limit"
            )
        # Groups that nest in others come after them; each order of these is met once for
        # every order of their outers only if they turn faster.
        fast_first = reversed(list(enumerate(self.columns)))
        self.wheels = [Wheel(at, row) for at, c in fast_first for row in range(c.rows)]
        self._turns = self._woven()

    def __len__(self) -> int:
        """Return the number of steps: one less than there are permutations."""
        return self.size - 1

    def _woven(self) -> Int32[np.ndarray, "s 2"]:
        """Return for every step its wheel and the first of the neighbors that it swaps."""
        turns = np.empty((0, 2), dtype=np.int32)
        for number, wheel in enumerate(self.wheels):
            own = adjacent_swaps(self.columns[wheel.column].size)
            slow = np.stack((np.full(len(own), number, np.int32), own), axis=1)
            turns = weave(turns, slow)
        return turns

    def steps(self, start: int, stop: int) -> Steps:
        """Return some of the steps, all of which are to be made."""
        turns = self._turns[start:stop]
        swaps = np.full((len(turns), len(self.columns), 3), -1, dtype=np.int64)
        columns = np.array([wheel.column for wheel in self.wheels])[turns[:, 0]]
        rows = np.array([wheel.row for wheel in self.wheels])[turns[:, 0]]
        made = np.stack((rows, turns[:, 1], turns[:, 1] + 1), axis=1)
        swaps[np.arange(len(turns)), columns] = made
        ones = np.ones(len(turns))
        return Steps(self.columns, swaps, np.zeros(len(turns)), np.inf * ones)


def weave(
    fast: Int[np.ndarray, " m *step"], slow: Int[np.ndarray, " n *step"]
) -> Int[np.ndarray, " (m+1)*(n+1)-1 *step"]:
    """Return the fast steps, a slow one, the fast ones backwards, a slow one, and so on.

    Args:
        fast: steps, each undone by itself.
        slow: other steps.
    """
    rounds = np.empty((len(slow) + 1, len(fast) + 1, *slow.shape[1:]), dtype=slow.dtype)
    rounds[0::2, :-1], rounds[1::2, :-1] = fast, fast[::-1]
    rounds[:-1, -1] = slow
    return rounds.reshape(-1, *slow.shape[1:])[:-1]


def adjacent_swaps(size: int) -> Int32[np.ndarray, " s"]:
    """Return the swaps of neighbors that go through all orders of a number of units once.

    Returns:
        The first position of each of the `size! - 1` swaps.

    Example:
        >>> adjacent_swaps(3).tolist()
        [1, 0, 1, 0, 1]
    """
    swaps = np.empty(0, dtype=np.int32)
    for last in range(1, size):
        # The last unit goes from right to left and back; where it stands leftmost, the others
        # are one place further right.
        sweep = np.arange(last - 1, -1, -1, dtype=np.int32)
        others = swaps + (np.arange(len(swaps)) % 2 == 0)
        swaps = weave(sweep, others.astype(np.int32))
    return swaps
