"""MergeMany: several networks come together, no step makes it worse, bad input is named."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from onebasin import OneBasinError, Permutation
from onebasin.matching import match_cycle_consistent, match_many, match_weights
from tests.matching.problems import planted, unrelated, weights

BOTH = pytest.mark.parametrize("matcher", [match_many, match_cycle_consistent])


def all_pairs(params_list: list[dict[str, Tensor]], names: tuple[str, ...]) -> float:
    return sum(
        float((left[name].double() * right[name].double()).sum())
        for i, left in enumerate(params_list)
        for right in params_list[:i]
        for name in names
    )


@BOTH
@pytest.mark.parametrize("network", ["perceptron", "attention"])
def test_permuted_copies_become_equal(matcher, network):
    problem = planted(network)
    params = [problem.a, problem.b]
    params += [Permutation.random(problem.symmetry, seed=s).apply(problem.a) for s in (7, 8)]
    matching = matcher(problem.symmetry, params)
    for moved in matching.apply(params):
        assert all(torch.equal(moved[name], problem.a[name]) for name in problem.a)


@BOTH
def test_objective_over_all_pairs_never_decreases(matcher):
    problem = unrelated("convolutions")
    params = [weights("convolutions", seed) for seed in range(4)]
    matching = matcher(problem.symmetry, params)
    assert matching.objective[0] == pytest.approx(all_pairs(params, problem.names))
    assert all(late >= early for early, late in pairwise(matching.objective))
    moved = matching.apply(params)
    assert matching.objective[-1] == pytest.approx(all_pairs(moved, problem.names))
    assert matching.objective[-1] > matching.objective[0]
    assert matching.converged


def test_no_network_can_be_moved_closer_to_the_others():
    problem = unrelated("perceptron")
    params = [weights("perceptron", seed) for seed in range(3)]
    matching = match_many(problem.symmetry, params, seed=1)
    moved = matching.apply(params)
    for number, permutation in enumerate(matching.permutations):
        others = [each for i, each in enumerate(moved) if i != number]
        mean = {n: torch.stack([other[n] for other in others]).mean(0) for n in problem.names}
        again = match_weights(problem.symmetry, mean, params[number], init=permutation)
        assert again.objective[-1] == pytest.approx(again.objective[0], rel=1e-6)


def test_first_network_is_the_reference_of_all_pairs():
    problem = unrelated("attention")
    params = [weights("attention", seed) for seed in range(3)]
    matching = match_many(problem.symmetry, params)
    assert not any(matching.permutations[0].num_moved.values())
    there = matching.between(1, 2).apply(params[1])
    back = matching.permutations[2].inverse().apply(matching.permutations[1].apply(params[1]))
    assert all(torch.equal(there[name], back[name]) for name in there)


def test_optimal_start_is_kept():
    problem = unrelated("perceptron")
    params = [weights("perceptron", seed) for seed in range(3)]
    first = match_many(problem.symmetry, params)
    again = match_many(problem.symmetry, params, init=first.permutations, seed=5)
    assert again.objective[0] == pytest.approx(first.objective[-1])
    assert again.objective[-1] >= again.objective[0]


def test_sums_of_float64_networks_are_float64():
    problem = planted("perceptron")
    params = [{n: t.double() for n, t in p.items()} for p in (problem.a, problem.b)]
    matching = match_many(problem.symmetry, [*params, params[0]])
    squares = sum(float(params[0][n].square().sum()) for n in problem.names)
    assert matching.objective[-1] == pytest.approx(3 * squares, rel=1e-14)


@BOTH
def test_bad_input_gives_a_one_line_error(matcher):
    problem = planted("perceptron")
    name = matcher.__name__
    with pytest.raises(OneBasinError, match=f"^{name}: 1 network given; give at least two of one"):
        matcher(problem.symmetry, [problem.a])
    with pytest.raises(OneBasinError, match=f"^{name}: no network given; give at least two"):
        matcher(problem.symmetry, [])
    short = {n: t for n, t in problem.b.items() if n != "2.bias"}
    with pytest.raises(OneBasinError, match=r"tensor '2.bias' of the symmetry is missing in netw"):
        matcher(problem.symmetry, [problem.a, problem.a, short])
    identity = Permutation.identity(problem.symmetry)
    with pytest.raises(OneBasinError, match="init has 1 permutations for 2 networks; give one"):
        matcher(problem.symmetry, [problem.a, problem.b], init=[identity])
    matching = matcher(problem.symmetry, [problem.a, problem.b])
    with pytest.raises(OneBasinError, match="apply: 1 network for 2 permutations; pass the netw"):
        matching.apply([problem.a])


def test_sweeps_below_one_are_rejected():
    problem = planted("perceptron")
    with pytest.raises(OneBasinError, match="match_many: max_sweeps is 0; it must be a whole"):
        match_many(problem.symmetry, [problem.a, problem.b], max_sweeps=0)
