"""Straight-through matching: it loses less than weight matching, on data of every form."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin.matching import match_straight_through, match_weights
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._losses import DataLoss, Endpoints
from onebasin.matching.straight_through import _Learned
from tests.matching.problems import Problem, planted, unrelated


def trained(seed: int) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """Return a small network trained on two moons of noise, and the data."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 2, generator=generator)
    labels = (inputs[:, 0] * inputs[:, 1] > 0).long()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(),
                              nn.Linear(8, 2))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return model.requires_grad_(False), [
        (inputs[i : i + 64], labels[i : i + 64]) for i in range(0, 256, 64)
    ]


@pytest.fixture(scope="module")
def pair() -> Problem:
    (model, data), (other, _) = trained(0), trained(1)
    symmetry = infer_symmetry(model, data[0][0])
    return Problem(symmetry, model, model.state_dict(), other.state_dict(), data, [])


def test_midpoint_has_lower_loss_than_weight_matching(pair: Problem) -> None:
    result = match_straight_through(pair.symmetry, pair.a, pair.b, model=pair.model, data=pair.data,
                                   learning_rate=0.1)  # fmt: skip
    matched, *_, best = result.objective
    assert all(late >= early for early, late in pairwise(result.objective))
    assert best > matched
    by_weights = match_weights(pair.symmetry, pair.a, pair.b).permutation
    moved = {"weights": by_weights, "learned": result.permutation}
    losses = {}
    for name, permutation in moved.items():
        b = permutation.apply(pair.b)
        middle = {n: (pair.a[n] + b[n]) / 2 for n in pair.a}
        parts = [
            F.cross_entropy(torch.func.functional_call(pair.model, middle, x), y)
            for x, y in pair.data
        ]
        losses[name] = float(torch.stack(parts).mean())
    assert losses["learned"] == pytest.approx(-result.objective[-1], rel=1e-5)
    assert losses["weights"] == pytest.approx(-matched, rel=1e-5)


def test_near_uniform_predictions_are_not_a_match(pair: Problem) -> None:
    """Far apart at random, networks that cancel out lose less than those that fit badly."""
    a = {name: 30 * tensor for name, tensor in pair.a.items()}
    b = {name: -tensor for name, tensor in a.items()}
    given = {"model": pair.model, "data": pair.data, "max_epochs": 1}
    result = match_straight_through(pair.symmetry, a, b, **given)
    first = match_weights(pair.symmetry, a, b).permutation
    losses = DataLoss(pair.model, pair.data, "cross_entropy", normalization="interpolated")
    endpoints = Endpoints(Pair(pair.symmetry, a, b))
    bland, fitted = (
        losses.mean(endpoints.between(endpoints.moved(p)))
        for p in (Permutation.identity(pair.symmetry), first)
    )
    assert bland < fitted
    assert result.objective[0] == pytest.approx(-fitted, rel=1e-6)
    assert any(result.permutation.num_moved.values())


def test_search_stops_without_improvement(pair: Problem) -> None:
    given = {"model": pair.model, "data": pair.data, "learning_rate": 1e-12}
    result = match_straight_through(pair.symmetry, pair.a, pair.b, patience=2, **given)
    assert (result.num_sweeps, result.converged) == (2, True)
    cut = match_straight_through(pair.symmetry, pair.a, pair.b, max_epochs=1, **given)
    assert (cut.num_sweeps, cut.converged) == (1, False)


def test_first_step_is_in_the_direction_of_the_loss(pair: Problem) -> None:
    """One step of one batch: the learned weights go against the gradient at the midpoint."""

    checked = Pair(pair.symmetry, pair.a, pair.b)
    checked.compute_stats()
    endpoints = Endpoints(checked)
    learned = _Learned(endpoints, checked, 0.1)
    middle = endpoints.between(endpoints.b)
    leaves = {n: t.detach().requires_grad_() for n, t in middle.items()}
    loss = DataLoss(pair.model, pair.data, "cross_entropy", normalization="interpolated")
    value = loss.of_batch(leaves, pair.data[0], 0)
    gradients = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
    learned.step(gradients)
    for name, gradient in gradients.items():
        step = learned.weights[name] - pair.a[name]
        assert float((step * gradient).sum()) < 0


def test_custom_loss_and_batch_statistics(pair: Problem) -> None:
    problem = planted("residual")
    given = {"model": problem.model, "data": problem.outputs, "max_epochs": 1}
    result = [
        match_straight_through(
            problem.symmetry, problem.a, problem.b, normalization="batch", loss=loss, **given
        )
        for loss in ("mse", lambda outputs, wanted: (outputs - wanted).square().mean(1))
    ]
    assert result[0].objective == pytest.approx(result[1].objective, rel=1e-5)
    with_own = match_straight_through(problem.symmetry, problem.a, problem.b, loss="mse", **given)
    assert with_own.objective[-1] == pytest.approx(0, abs=1e-9)
    assert result[0].objective[-1] < -1e-6, "batch statistics are others than the network's own"


def test_tokens_without_a_label_are_ignored() -> None:
    problem = unrelated("attention")
    (x, y), (z, w) = problem.data
    hidden = [(x, torch.where(torch.arange(4) < 1, y, -100)), (z, w)]
    result = match_straight_through(
        problem.symmetry, problem.a, problem.a, model=problem.model, data=hidden, max_epochs=1
    )
    outputs = [torch.func.functional_call(problem.model, problem.a, each) for each in (x, z)]
    counted = torch.cat([outputs[0][:, :1].flatten(0, 1), outputs[1].flatten(0, 1)])
    labels = torch.cat([y[:, :1].flatten(), w.flatten()])
    assert -result.objective[0] == pytest.approx(float(F.cross_entropy(counted, labels)), rel=1e-5)


def test_batches_with_ignored_labels_have_no_effect() -> None:
    problem = unrelated("attention")
    (x, y), rest = problem.data
    result, expected = (
        DataLoss(problem.model, data, "cross_entropy", normalization="interpolated").mean(problem.a)
        for data in ([rest, (x, torch.full_like(y, -100))], [rest])
    )
    assert result == expected


def bad(**changes) -> str:
    problem = planted("perceptron")
    given = {"model": problem.model, "data": problem.data, **changes}
    with pytest.raises(OneBasinError) as raised:
        match_straight_through(problem.symmetry, problem.a, problem.b, **given)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_bad_input_gives_a_one_line_error() -> None:
    (inputs, labels), *_ = planted("perceptron").data
    assert "the data has no batches; pass at least one" in bad(data=[])
    assert "all labels are ignored (got -100)" in bad(
        data=[(inputs, torch.full_like(labels, -100))]
    )
    assert "iterator that can be read only once" in bad(data=iter([(inputs, labels)]))
    assert "batch 0 of the data (Tensor) has no labels; pass (inputs, labels)" in bad(data=[inputs])
    assert "does not run on batch 0 of the data: mat1 and mat2" in bad(
        data=[(inputs[:, :2], labels)]
    )
    assert "does not run on batch 1" in bad(data=[(inputs, labels), (inputs, labels[:3])])
    assert "the loss on batch 0 of the data is nan" in bad(data=[(inputs * float("nan"), labels)])
    assert "max_epochs is 0; it must be a whole number of at least 1" in bad(max_epochs=0)
    assert "learning_rate must be positive and finite (got 0" in bad(learning_rate=0.0)
    assert "outputs are (12, 3) and labels (12,); mse needs one target for each output" in bad(
        loss="mse"
    )
    assert "labels are torch.float32; pass integer classes" in bad(data=[(inputs, labels.float())])
