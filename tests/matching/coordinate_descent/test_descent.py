"""Starts of coordinate descent."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from onebasin.matching._coordinate_descent.descent import Descent, match_by_moments
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._coordinate_descent.search import Search
from tests.matching.problems import unrelated


def test_random_starts_depend_on_the_seed() -> None:
    problem = unrelated("perceptron")
    pair = Pair(problem.symmetry, problem.a, problem.b)
    stats = pair.compute_stats()
    search = Search(problem.symmetry, pair, cache_bytes=0)

    def begin(seed: int, number: int) -> dict[str, Tensor]:
        run = Descent(search, seed=seed, number=number, total=1, progress=None)
        run.initialize(stats, None)
        return dict(search.indices)

    numbers = [(seed, number) for seed in range(3) for number in range(2, 5)]
    starts = [begin(*pair) for pair in numbers]
    for first, second in combinations(starts, 2):
        assert any(not torch.equal(first[name], second[name]) for name in first)
    again = begin(*numbers[0])
    assert all(torch.equal(again[name], starts[0][name]) for name in again)


def test_assignments_of_moments_are_counted() -> None:
    problem = unrelated("perceptron")
    pair = Pair(problem.symmetry, problem.a, problem.b)
    search = Search(problem.symmetry, pair, cache_bytes=0)
    match_by_moments(search)
    assert search.num_solves == len(search.trees) > 1
