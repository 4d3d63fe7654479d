"""State of simulated annealing: random swaps, accepted by Metropolis's rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

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


Move = Literal["every", "one"]


@dataclass(frozen=True)
class Swap:
    """A swap of two units of a network.

    Args:
        network: number of the network.
        group: group of the units; nested units move along.
        row: outer position of a nested group, row-major; otherwise 0.
        first, second: the two positions.
    """

    network: int
    group: str
    row: int
    first: int
    second: int


@dataclass(frozen=True)
class Column:
    """A group of a network in which units can be swapped.

    Args:
        network: number of the network.
        group: name of the group.
        size: number of its units, at least 2.
        rows: number of outer positions, 1 for a group that is not nested.
    """

    network: int
    group: str
    size: int
    rows: int


def columns_of(symmetry: Symmetry, networks: Iterable[int]) -> tuple[Column, ...]:
    """Return the columns of networks: their groups with at least two units."""
    return tuple(
        Column(network, name, group.size, prod(symmetry.outer_shape(name)))
        for network in networks
        for name, group in symmetry.groups.items()
        if group.size > 1
    )


@dataclass(frozen=True)
class Steps:
    """A sequence of steps.

    Args:
        columns: columns of the swaps.
        swaps: row, first and second of every step and column, int64 `(steps, columns, 3)`;
            first is -1 if a step does not swap in a column.
        uniforms: random numbers in [0, 1) for the acceptance, `(steps,)`.
        temperatures: temperature of every step, `(steps,)`; an infinite one accepts all swaps.
    """

    columns: tuple[Column, ...]
    swaps: np.ndarray
    uniforms: np.ndarray
    temperatures: np.ndarray

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.swaps)

    def at(self, step: int) -> list[Swap]:
        """Return the swaps of one step."""
        rows = zip(self.columns, self.swaps[step].tolist(), strict=True)
        return [Swap(c.network, c.group, *values) for c, values in rows if values[1] >= 0]


def draw_steps(
    columns: tuple[Column, ...],
    temperatures: np.ndarray,
    rng: np.random.Generator,
    move: Move = "every",
) -> Steps:
    """Draw one random step for each temperature.

    In every column both units are drawn independently. If they are equal, nothing is swapped.
    Otherwise the parities of all columns would change together, and half of the permutations of
    two groups could not be reached.

    Args:
        columns: one or more columns.
        temperatures: temperatures, `(steps,)`.
        rng: random generator.
        move: whether a step swaps a pair in every column or in one of them.
    """
    steps, width = len(temperatures), len(columns)
    sizes = np.array([column.size for column in columns])
    rows = rng.integers(0, np.array([column.rows for column in columns]), (steps, width))
    first = rng.integers(0, sizes, (steps, width))
    second = rng.integers(0, sizes, (steps, width))
    first[first == second] = -1
    if move == "one":
        chosen = rng.integers(0, width, steps)
        first[chosen[:, None] != np.arange(width)] = -1
    return Steps(columns, np.stack((rows, first, second), -1), rng.random(steps), temperatures)


def transposition(symmetry: Symmetry, swaps: Sequence[Swap]) -> Permutation:
    """Return the permutation of swaps in different groups of one network."""
    indices = dict(Permutation.identity(symmetry).indices)
    for swap in swaps:
        size = indices[swap.group].shape[-1]
        index = indices[swap.group].clone()
        index.view(-1, size)[swap.row, [swap.first, swap.second]] = torch.tensor(
            [swap.second, swap.first]
        )
        indices[swap.group] = index
    return Permutation(symmetry, indices)


def swapped(index: Tensor, first: int, second: int) -> Tensor:
    """Return a copy of the index of a group without nesting, with two positions exchanged."""
    changed = index.clone()
    changed[first], changed[second] = index[second], index[first]
    return changed


def is_plain(symmetry: Symmetry, group: str) -> bool:
    """Return whether a group is not nested and has no nested groups."""
    nested: Mapping[str, tuple[str, ...]] = {n: g.nested_in for n, g in symmetry.groups.items()}
    return not nested[group] and not any(group in nested_in for nested_in in nested.values())
