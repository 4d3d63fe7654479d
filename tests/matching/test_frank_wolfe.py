"""Frank–Wolfe: its steps rise, its line search is exact, and it beats coordinate descent."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin.matching import match_frank_wolfe, match_weights
from onebasin.matching._coordinate_descent.network_set import NetworkSet
from onebasin.matching._relaxation.frank_wolfe import FrankWolfe
from onebasin.matching._relaxation.objective import InnerProductObjective, polynomial_peak
from onebasin.matching._relaxation.relaxation import Relaxation, lerp
from tests.matching.problems import (
    NETWORKS,
    Problem,
    best_of_one_layer,
    one_layer,
    unrelated,
    weights,
)


def agreement_of(network: str, num_networks: int = 2) -> tuple[Problem, InnerProductObjective]:
    problem = unrelated(network)
    params = [weights(network, seed) for seed in range(num_networks)]
    network_set = NetworkSet(problem.symmetry, params)
    return problem, InnerProductObjective(network_set, Relaxation(problem.symmetry))


@pytest.mark.parametrize("num_networks", [2, 3])
@pytest.mark.parametrize("network", NETWORKS)
def test_relaxed_objective_increases_at_every_step(network, num_networks):
    _, objective = agreement_of(network, num_networks)
    start = [objective.relaxation.uniform()] * (num_networks - 1)
    ascent = FrankWolfe(objective, start, objective.network_set.objective())
    assert list(ascent.run(30)) == ascent.values[1:] or ascent.converged
    assert all(late > early for early, late in pairwise(ascent.values))
    assert objective.along(ascent.points, ascent.points, [0.0])[0] == pytest.approx(
        ascent.values[-1], rel=1e-5
    )
    for point in ascent.points:
        for matrices in point.values():
            ones = torch.ones(matrices.shape[:-1])
            torch.testing.assert_close(matrices.sum(-1), ones)
            torch.testing.assert_close(matrices.sum(-2), ones)


@pytest.mark.parametrize("num_networks", [2, 3])
@pytest.mark.parametrize("network", NETWORKS)
def test_along_a_line_the_objective_is_a_polynomial_of_its_degree(network, num_networks):
    problem, objective = agreement_of(network, num_networks)
    relaxation = objective.relaxation
    start = [relaxation.uniform()] * (num_networks - 1)
    drawn = [Permutation.random(problem.symmetry, seed=s) for s in range(num_networks - 1)]
    end = [relaxation.vertex(permutation, torch.float32) for permutation in drawn]
    places = [place / objective.degree for place in range(objective.degree + 1)]
    values = dict(zip(places, objective.along(start, end, places), strict=True))
    grid = [place / 40 for place in range(41)]
    heights = objective.along(start, end, grid)
    fraction, peak = polynomial_peak(values)
    assert peak >= max(heights) - 1e-4 * abs(peak)
    assert objective.along(start, end, [fraction])[0] == pytest.approx(peak, rel=1e-4, abs=1e-4)


def test_objective_of_permutations_is_the_inner_product():
    problem, objective = agreement_of("attention")
    drawn = Permutation.random(problem.symmetry, seed=4)
    vertex = [objective.relaxation.vertex(drawn, torch.float32)]
    value = objective.along(vertex, vertex, [0.0])[0]
    assert value == pytest.approx(problem.inner_product(drawn), rel=1e-5)


def test_gradient_matches_finite_differences():
    _, objective = agreement_of("square")
    uniform = objective.relaxation.uniform()
    end = {name: torch.eye(matrices.shape[-1]) for name, matrices in uniform.items()}
    _, (gradients,) = objective.gradients([uniform])
    slope = sum(float((gradients[n] * (end[n] - uniform[n])).sum()) for n in uniform)
    near, here = objective.along([uniform], [end], [1e-2, 0.0])
    back = objective.along([uniform], [lerp(uniform, end, -1.0)], [1e-2])[0]
    assert (near - back) / 2e-2 == pytest.approx(slope, rel=1e-3)
    assert near > here or slope <= 0


@pytest.mark.parametrize(
    ("values", "peak"),
    [
        ({0.0: 1.0, 1.0: 2.0}, (1.0, 2.0)),
        ({0.0: 1.0, 1.0: 1.0}, (0.0, 1.0)),
        ({0.0: 0.0, 0.5: 1.0, 1.0: 0.0}, (0.5, 1.0)),
        # x (1 - x)^2 is greatest at a third; its other peak lies outside.
        ({x: x * (1 - x) ** 2 for x in (0.0, 0.2, 0.7, 1.0)}, (1 / 3, 4 / 27)),
    ],
)
def test_peak_of_a_polynomial(values, peak):
    assert polynomial_peak(values) == pytest.approx(peak)


@pytest.mark.parametrize("size", [2, 4, 5])
def test_one_group_matches_exhaustive_search(size):
    problem = one_layer(size)
    result = match_frank_wolfe(problem.symmetry, problem.a, problem.b, polish=False)
    assert result.objective[-1] == pytest.approx(best_of_one_layer(problem), rel=1e-6)


def test_result_exceeds_coordinate_descent_from_one_start():
    ahead = 0.0
    for network in NETWORKS:
        problem = unrelated(network)
        params = problem.symmetry, problem.a, problem.b
        result, descent = match_frank_wolfe(*params), match_weights(*params)
        assert result.objective[-1] > 0.97 * descent.objective[-1]
        ahead += result.objective[-1] / descent.objective[-1] - 1
    assert ahead > 0


def test_restarts_keep_the_best_and_polish_improves():
    problem = unrelated("attention")
    params = problem.symmetry, problem.a, problem.b
    alone = match_frank_wolfe(*params, restarts=3, polish=False)
    assert len(alone.restarts) == 3
    assert alone.objective[-1] == max(alone.restarts)
    again = match_weights(*params, init=alone.permutation)
    polished = match_frank_wolfe(*params, restarts=3)
    assert polished.objective[-1] == pytest.approx(again.objective[-1])


def test_too_few_steps_do_not_converge_and_counts_below_one_are_rejected():
    problem = unrelated("square")
    params = problem.symmetry, problem.a, problem.b
    result = match_frank_wolfe(*params, max_steps=1)
    assert (result.num_sweeps, result.converged) == (1, False)
    with pytest.raises(OneBasinError, match="max_steps is 0; it must be a whole number"):
        match_frank_wolfe(*params, max_steps=0)


def test_no_groups_give_the_identity():
    model = nn.Linear(3, 2)
    symmetry = infer_symmetry(model, torch.zeros(2, 3))
    result = match_frank_wolfe(symmetry, model.state_dict(), model.state_dict())
    assert result.permutation.indices == {}
    assert result.converged
