"""State of simulated annealing, with Metropolis's rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import exp

from torch import Tensor

from onebasin.matching._annealing.swaps import Steps, Swap

NetworkIndices = tuple[dict[str, Tensor], ...]
"""Indices of each group for every network, as permutations hold them."""

REFRESH = 2000
"""Number of accepted steps after which accumulated values are recomputed."""


class AnnealingState(ABC):
    """Permutations of several networks and their energy.

    Args:
        energy: the initial energy.
    """

    is_compiled = False
    """Whether states can run in parallel threads."""

    def __init__(self, energy: float) -> None:
        """Initialize; `indices` must be available."""
        self.energy = self.best_energy = energy
        self.best_indices = self.indices
        self.num_accepted = self.num_corrections = 0

    @property
    @abstractmethod
    def indices(self) -> NetworkIndices:
        """The current indices."""

    @abstractmethod
    def propose(self, swaps: Sequence[Swap]) -> float:
        """Return the energy after swaps, at most one for each column, without applying them."""

    @abstractmethod
    def accept(self) -> None:
        """Apply the last proposed swaps."""

    @abstractmethod
    def refresh(self) -> None:
        """Recompute accumulated values and the energy."""

    def run(self, steps: Steps) -> None:
        """Try steps one after the other, and record the best indices.

        A step that changes the energy by dE is accepted if dE <= 0 or exp(-dE/T) >= u
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
                    self.best_indices, self.best_energy = self.indices, energy
        self.refresh_if_due()

    def refresh_if_due(self) -> None:
        """Refresh after many accepted steps."""
        if self.num_corrections >= REFRESH:
            self.refresh()
            self.num_corrections = 0
