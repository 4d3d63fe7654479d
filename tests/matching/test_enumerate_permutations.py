"""Enumerations: every permutation once, each one swap of neighbors from the last."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest
import torch

from onebasin import OneBasinError
from onebasin.matching import enumerate_permutations
from onebasin.matching.exhaustive import adjacent_swaps, interleave
from tests.matching.tiny import tiny


@pytest.mark.parametrize("size", range(1, 8))
def test_adjacent_swaps_visit_all_permutations(size):
    order, seen = list(range(size)), {tuple(range(size))}
    for at in adjacent_swaps(size).tolist():
        order[at], order[at + 1] = order[at + 1], order[at]
        seen.add(tuple(order))
    assert len(seen) == len(adjacent_swaps(size)) + 1 == factorial(size)


def test_fast_digits_run_back_and_forth_between_slow_digits():
    assert interleave(np.array([1, 2]), np.array([8, 9])).tolist() == [1, 2, 8, 2, 1, 9, 1, 2]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("three units", factorial(3)),
        ("two layers", factorial(3) * factorial(4)),
        ("three layers", 6 * 2 * 6),
        ("square", factorial(4)),
    ],
)
def test_every_permutation_is_visited_once(name, count):
    _, symmetry, _, _ = tiny(name)
    result = list(enumerate_permutations(symmetry))
    assert len(result) == num_different(result) == count


def test_nested_groups_are_permuted_in_every_outer_unit():
    _, symmetry, _, _ = tiny("heads")
    assert any(group.nested_in for group in symmetry.groups.values())
    result = list(enumerate_permutations(symmetry))
    assert np.log10(len(result)) == pytest.approx(symmetry.log10_order)
    assert num_different(result) == len(result)


def num_different(permutations) -> int:
    return len({tuple(torch.cat([i.flatten() for i in p.indices.values()]).tolist())
                for p in permutations})  # fmt: skip


def test_too_many_permutations_are_counted():
    _, symmetry, _, _ = tiny("one layer")
    with pytest.raises(
        OneBasinError, match="the symmetry has 120 permutations, above the limit of 9"
    ):
        enumerate_permutations(symmetry, limit=9)
