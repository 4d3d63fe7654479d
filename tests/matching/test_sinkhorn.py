"""Sinkhorn matching: objectives, both derivatives, rounding, bad input."""

from __future__ import annotations

from inspect import unwrap
from itertools import pairwise

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin.matching import match_frank_wolfe, match_sinkhorn
from tests.matching.problems import planted, unrelated


@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
def test_both_derivatives_find_a_planted_permutation(gradient):
    problem = planted("attention")
    result = match_sinkhorn(problem.symmetry, problem.a, problem.b, gradient=gradient)
    moved = result.permutation.apply(problem.b)
    assert all(torch.equal(moved[name], problem.a[name]) for name in moved)


def test_both_derivatives_reach_similar_objectives():
    problem = unrelated("square")
    values = [
        match_sinkhorn(problem.symmetry, problem.a, problem.b, gradient=gradient).objective[-1]
        for gradient in ("implicit", "unrolled")
    ]
    assert values[0] == pytest.approx(values[1], rel=0.02)


@pytest.mark.parametrize("network", ["perceptron", "square"])
def test_weights_are_matched_nearly_as_well_as_by_frank_wolfe(network):
    problem = unrelated(network)
    params = problem.symmetry, problem.a, problem.b
    result, other = match_sinkhorn(*params), match_frank_wolfe(*params)
    assert result.objective[-1] > 0.9 * other.objective[-1]


@pytest.mark.parametrize("objective", ["midpoint", "path"])
def test_loss_falls_far_below_that_of_the_unaligned_network(objective):
    problem = planted("perceptron")
    result = match_sinkhorn(
        problem.symmetry,
        problem.a,
        problem.b,
        objective=objective,
        model=problem.model,
        data=problem.outputs,
        loss="mse",
    )
    assert all(late >= early for early, late in pairwise(result.objective))
    assert result.objective[-1] > 0.2 * result.objective[0]
    assert problem.share_in_place(result.permutation) > 2 / 16
    if objective == "midpoint":
        loss = problem.midpoint_loss(result.permutation)
        assert result.objective[-1] == pytest.approx(-loss, rel=1e-4)


def test_data_determine_the_default_objective():
    problem = planted("perceptron")
    params = problem.symmetry, problem.a, problem.b
    given = {"model": problem.model, "data": problem.outputs, "loss": "mse", "max_steps": 1}
    assert match_sinkhorn(*params, **given).objective[0] < 0
    with_data = match_sinkhorn(*params, objective="weights", **given).objective
    identity = Permutation.identity(problem.symmetry)
    assert with_data[0] == pytest.approx(problem.inner_product(identity))


def test_optimization_stops_when_matrices_are_nearly_permutations():
    problem = planted("convolutions")
    result = match_sinkhorn(
        problem.symmetry, problem.a, problem.b, max_steps=2000, learning_rate=1.0
    )
    assert result.converged
    assert result.num_sweeps < 2000
    cut = match_sinkhorn(problem.symmetry, problem.a, problem.b, max_steps=2)
    assert (cut.num_sweeps, cut.converged) == (2, False)


def test_seed_changes_the_sampled_points_of_the_path():
    problem = unrelated("perceptron")
    given = {"model": problem.model, "data": problem.outputs, "loss": "mse", "objective": "path"}
    runs = [
        match_sinkhorn(
            problem.symmetry, problem.a, problem.b, seed=seed, check_every=5, max_steps=40, **given
        )
        for seed in (0, 1)
    ]
    assert runs[0].objective != runs[1].objective


def test_batch_statistics_change_the_result():
    problem = planted("residual")
    given = {"model": problem.model, "data": problem.outputs, "loss": "mse", "max_steps": 1}
    own, of_batches = (
        match_sinkhorn(problem.symmetry, problem.a, problem.a, normalization=choice, **given)
        for choice in ("interpolated", "batch")
    )
    assert own.objective[0] == pytest.approx(0, abs=1e-9)
    assert of_batches.objective[0] < -1e-6


def test_no_groups_give_the_identity():
    model = nn.Linear(3, 2)
    symmetry = infer_symmetry(model, torch.zeros(2, 3))
    result = match_sinkhorn(symmetry, model.state_dict(), model.state_dict())
    assert (result.permutation.indices, result.converged, result.num_sweeps) == ({}, True, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "path"}, "objective 'path' needs model and data; pass both, or use 'wei"),
        ({"data": []}, "objective 'midpoint' needs model and data"),
        (
            {"objective": "loss"},
            "objective is 'loss'; it must be 'weights' or 'midpoint' or",
        ),
        ({"gradient": "exact"}, "gradient is 'exact'; it must be 'implicit' or 'unrolled'"),
        ({"max_steps": 0}, "max_steps is 0; it must be a whole number of at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be positive and finite .got -1"),
    ],
)
def test_bad_input_is_rejected(changes, message):
    problem = planted("perceptron")
    with pytest.raises(OneBasinError, match=message):
        # Unwrapped, since the suite's type checks would refuse a wrong word first.
        unwrap(match_sinkhorn)(problem.symmetry, problem.a, problem.b, **changes)
