"""The walk itself: where it stands, the best place it has seen, and Metropolis's rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import exp

from torch import Tensor

from onebasin.matching._annealing.swaps import Steps, Swap

Orders = tuple[dict[str, Tensor], ...]
"""For every network an index for each group, as permutations hold them."""

REFRESH = 2000
"""Accepted steps after which what was corrected step by step is computed anew."""


class Walk(ABC):
    """A walk through the permutations of several networks.

    Args:
        energy: the energy where it begins.
    """

    is_compiled = False
    """Whether walks may run side by side in threads."""

    def __init__(self, energy: float) -> None:
        """Begin; `orders` must be known by now."""
        self.energy = self.best_energy = energy
        self.best_orders = self.orders
        self.num_accepted = self.num_corrections = 0

    @property
    @abstractmethod
    def orders(self) -> Orders:
        """Where the walk stands."""

    @abstractmethod
    def propose(self, swaps: Sequence[Swap]) -> float:
        """Return the energy after swaps, without making them; at most one for a column."""

    @abstractmethod
    def accept(self) -> None:
        """Make the swaps that were proposed last."""

    @abstractmethod
    def refresh(self) -> None:
        """Compute anew what many small corrections may have made inexact, the energy with it."""

    def run(self, steps: Steps) -> None:
        """Try steps, one after the other, and keep the best place.

        A step that changes the energy by dE is made where dE <= 0 or exp(-dE/T) >= u
        (Metropolis et al., 1953).
        """
        for number in range(len(steps)):
            energy = self.propose(steps.at(number))
            change = energy - self.energy
            temperature, uniform = steps.temperatures[number], steps.uniforms[number]
            if change <= 0 or exp(-change / temperature) >= uniform:
                self.accept()
                self.energy = energy
                self.num_accepted += 1
                self.num_corrections += 1
                if energy < self.best_energy:
                    self.best_orders, self.best_energy = self.orders, energy
        self.settle()

    def settle(self) -> None:
        """Refresh after many corrections."""
        if self.num_corrections >= REFRESH:
            self.refresh()
            self.num_corrections = 0
