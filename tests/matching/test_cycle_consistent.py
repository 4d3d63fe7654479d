"""Cycle-consistent matching: compositions around a cycle, and what the universe is worth."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from onebasin import OneBasinError
from onebasin.matching import match_cycle_consistent, match_many
from tests.matching.problems import NETWORKS, unrelated, weights


@pytest.mark.parametrize("network", NETWORKS)
def test_compositions_around_a_cycle_are_the_identity(network):
    problem = unrelated(network)
    params = [weights(network, seed) for seed in range(3)]
    result = match_cycle_consistent(problem.symmetry, params, max_steps=3, polish=False)
    for i, j, k in permutations(range(3)):
        around = result.between(k, i) @ result.between(j, k) @ result.between(i, j)
        assert not any(around.num_moved.values())
        two = (result.between(j, k) @ result.between(i, j)).apply(params[i])
        one = result.between(i, k).apply(params[i])
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(result.between(1, 2).num_moved.values())


def test_coordinate_descent_increases_the_objective():
    problem = unrelated("perceptron")
    params = [weights("perceptron", seed) for seed in range(4)]
    alone, polished = (
        match_cycle_consistent(problem.symmetry, params, polish=polish) for polish in (False, True)
    )
    assert polished.objective[-1] >= alone.objective[-1]
    further = match_many(problem.symmetry, params, init=polished.permutations)
    assert further.objective[-1] == pytest.approx(polished.objective[-1], rel=1e-5)


def test_restarts_keep_the_best():
    problem = unrelated("perceptron")
    params = [weights("perceptron", seed) for seed in range(3)]
    once = match_cycle_consistent(problem.symmetry, params, polish=False)
    thrice = match_cycle_consistent(problem.symmetry, params, polish=False, restarts=3)
    assert len(set(thrice.restarts)) > 1
    assert thrice.restarts[0] == once.objective[-1]
    assert thrice.objective[-1] == max(thrice.restarts)


def test_too_few_steps_do_not_converge():
    problem = unrelated("attention")
    params = [weights("attention", seed) for seed in range(3)]
    result = match_cycle_consistent(problem.symmetry, params, max_steps=1)
    assert (result.num_sweeps, result.converged) == (1, False)


def test_counts_below_one_are_rejected():
    problem = unrelated("perceptron")
    with pytest.raises(OneBasinError, match="restarts is 0; it must be a whole number"):
        match_cycle_consistent(problem.symmetry, [problem.a, problem.b], max_steps=1, restarts=0)
