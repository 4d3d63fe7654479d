"""Random permutations move every unit; two generate all permutations of a small group."""

from __future__ import annotations

from math import factorial

import pytest
import torch
from hypothesis import given

from onebasin.symmetry._verification.randomize import (
    random_cyclic_permutation,
    random_transpositions,
    restrict_permutation,
)
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Units
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry.random_symmetries import symmetries


def plain(size: int) -> Symmetry:
    return Symmetry({"h": Group("h", size)}, {"b": (Units("h", size),)})


@given(symmetries())
def test_cycles_move_every_unit(symmetry: Symmetry) -> None:
    for name, index in random_cyclic_permutation(symmetry, seed=0).indices.items():
        if symmetry.groups[name].size > 1:
            assert not (index == torch.arange(index.shape[-1])).any()


@pytest.mark.parametrize("seed", range(5))
def test_cycle_visits_all_units(seed: int) -> None:
    index = random_cyclic_permutation(plain(7), seed=seed).indices["h"].tolist()
    visited, position = [], 0
    for _ in range(7):
        visited.append(position)
        position = index[position]
    assert position == 0
    assert sorted(visited) == list(range(7))


@given(symmetries())
def test_transpositions_move_two_units_of_each_small_row(symmetry: Symmetry) -> None:
    for name, index in random_transpositions(symmetry, seed=0).indices.items():
        moved = (index != torch.arange(index.shape[-1])).sum(-1)
        assert bool((moved == (2 if symmetry.groups[name].size > 1 else 0)).all())


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("seed", range(6))
def test_both_permutations_generate_all_permutations(size: int, seed: int) -> None:
    symmetry = plain(size)
    draws = [
        draw(symmetry, seed=seed) for draw in (random_cyclic_permutation, random_transpositions)
    ]
    reached = {tuple(range(size)): Permutation.identity(symmetry)}
    waiting = list(reached.values())
    while waiting:
        last = waiting.pop()
        for draw in draws:
            composed = draw @ last
            key = tuple(composed.indices["h"].tolist())
            if key not in reached:
                reached[key] = composed
                waiting.append(composed)
    assert len(reached) == factorial(size)


def test_restriction_keeps_selected_groups() -> None:
    groups = {"a": Group("a", 5), "b": Group("b", 5)}
    symmetry = Symmetry(groups, {"w": (Units("a", 5), Units("b", 5))})
    whole = random_cyclic_permutation(symmetry, seed=1)
    part = restrict_permutation(whole, ["b"])
    assert part.num_moved == {"a": 0, "b": 5}
    assert torch.equal(part.indices["b"], whole.indices["b"])
