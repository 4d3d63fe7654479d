"""Swaps: random or given steps of a state, and their permutations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

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
