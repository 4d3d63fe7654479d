"""Exhaustive search: as good as the best of all permutations, made and evaluated one by one."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin.evaluation import evaluator, interpolate
from onebasin.evaluation._paths import point_between
from onebasin.matching import enumerate_permutations, match_exhaustive, match_weights
from tests.matching.problems import one_layer
from tests.matching.tiny import tiny


def inner_product(a, b) -> float:
    return sum(float((a[name].double() * b[name].double()).sum()) for name in a)


def floating(params):
    return {n: t for n, t in params.items() if "running" not in n and "num_batches" not in n}


@pytest.mark.parametrize("name", ["three units", "three layers", "heads", "square", "convolution"])
def test_result_by_weights_is_the_global_optimum(name):
    _, symmetry, (a, b), _ = tiny(name)
    values = [
        inner_product(floating(a), floating(permutation.apply(b)))
        for permutation in enumerate_permutations(symmetry)
    ]
    result = match_exhaustive(symmetry, a, b)
    assert result.objective == pytest.approx((values[0], max(values)), rel=1e-9)
    moved = floating(result.permutation.apply(b))
    assert inner_product(floating(a), moved) == pytest.approx(max(values), rel=1e-9)


@pytest.mark.parametrize("size", range(1, 7))
def test_one_group_matches_enumeration_and_assignment(size):
    problem = one_layer(size)
    symmetry, a, b = problem.symmetry, problem.a, problem.b
    best = max(
        inner_product(
            a,
            {
                "0.weight": b["0.weight"][list(index)],
                "0.bias": b["0.bias"][list(index)],
                "2.weight": b["2.weight"][:, list(index)],
                "2.bias": b["2.bias"],
            },
        )
        for index in permutations(range(size))
    )
    result = match_exhaustive(symmetry, a, b)
    assert result.objective[-1] == pytest.approx(best, rel=1e-9)
    weights = match_weights(symmetry, a, b)
    assert weights.objective[-1] == pytest.approx(best, rel=1e-6)
    assert result.permutation.equals(weights.permutation)


@pytest.mark.parametrize("objective", ["loss", "error"])
@pytest.mark.parametrize("name", ["three units", "three layers", "heads", "convolution"])
def test_result_on_data_is_the_global_optimum(name, objective):
    model, symmetry, (a, b), data = tiny(name)
    evaluate = evaluator(data)

    def halfway(permutation: Permutation) -> float:
        point = point_between(a, permutation.apply(b), 0.5)
        model.load_state_dict(point)
        return getattr(evaluate(model), objective)

    values = [halfway(permutation) for permutation in enumerate_permutations(symmetry)]
    result = match_exhaustive(symmetry, a, b, objective=objective, model=model, data=data)
    assert result.objective == pytest.approx((-values[0], -min(values)), abs=1e-6)
    assert halfway(result.permutation) == pytest.approx(min(values), abs=1e-6)


def test_loss_is_the_default_objective_with_data():
    model, symmetry, (a, b), data = tiny("three units")
    loss = match_exhaustive(symmetry, a, b, objective="loss", model=model, data=data)
    weights = match_exhaustive(symmetry, a, b)
    assert match_exhaustive(symmetry, a, b, model=model, data=data).objective == loss.objective
    given = {"objective": "weights", "model": model, "data": data}
    assert match_exhaustive(symmetry, a, b, **given).objective == weights.objective
    assert weights.objective != loss.objective


def test_any_function_of_the_parameters_is_minimized():
    _, symmetry, (a, b), _ = tiny("two layers")
    target = point_between(a, Permutation.random(symmetry, seed=5).apply(b), 0.5)

    def distance(params) -> float:
        return sum(float((params[name] - target[name]).square().sum()) for name in target)

    result = match_exhaustive(symmetry, a, b, evaluate=distance)
    assert result.objective[-1] == pytest.approx(0, abs=1e-10)
    assert result.permutation.equals(Permutation.random(symmetry, seed=5))


def counterexample():
    """Git Re-Basin, section 6: two networks that fit, and no permutation that connects them."""
    model = nn.Sequential(
        nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1, bias=False)
    ).double()
    eye, last = torch.eye(2), torch.tensor([[-1.0, -1.0]])
    a = {"0.weight": -eye, "0.bias": torch.tensor([1.0, 0.0]),
         "2.weight": torch.diag(torch.tensor([-1.0, 1.0])), "2.bias": torch.tensor([1.0, 0.0]),
         "4.weight": last}  # fmt: skip
    b = {"0.weight": eye, "0.bias": torch.tensor([0.0, 1.0]),
         "2.weight": torch.diag(torch.tensor([1.0, -1.0])), "2.bias": torch.tensor([0.0, 1.0]),
         "4.weight": last}  # fmt: skip
    return model, *({n: t.double() for n, t in each.items()} for each in (a, b))


def test_no_permutation_connects_the_networks_of_the_counterexample():
    model, a, b = counterexample()
    # Cell centers of a grid: equally many in each quadrant, none on a diagonal.
    axes = [(torch.arange(2 * half).double() + 0.5) / half - 1 for half in (40, 41)]
    inputs = torch.cartesian_prod(*axes)
    truth = (inputs[:, 0] < 0) & (inputs[:, 1] > 0)

    def error(network: nn.Module) -> float:
        # The output is 0 where the answer is yes, and below elsewhere.
        return float(((network(inputs)[:, 0] > -1e-9) != truth).double().mean())

    symmetry = infer_symmetry(model, inputs[:2])
    barriers = [
        interpolate(model, a, permutation.apply(b), error).barrier("loss")
        for permutation in enumerate_permutations(symmetry)
    ]
    assert error_of(model, a, error) == error_of(model, b, error) == 0
    assert barriers == pytest.approx([0.25] * 4, abs=0.004)


def error_of(model, params, error) -> float:
    model.load_state_dict(params)
    return error(model)


def test_inputs_are_not_changed_and_progress_is_reported():
    model, symmetry, (a, b), data = tiny("one layer")
    before = [{name: tensor.clone() for name, tensor in params.items()} for params in (a, b)]
    steps = []
    match_exhaustive(symmetry, a, b, progress=steps.append)
    match_exhaustive(symmetry, a, b, objective="loss", model=model, data=data)
    for params, kept in zip((a, b), before, strict=True):
        assert all(torch.equal(params[name], kept[name]) for name in kept)
    assert [(step.done, step.total) for step in steps] == [(120, 120)]


def test_no_groups_give_the_identity():
    model = nn.Linear(3, 2)
    result = match_exhaustive(infer_symmetry(model, torch.zeros(2, 3)), *[model.state_dict()] * 2)
    assert result.permutation.indices == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 100}, "the symmetry has 120 permutations, above the limit of 100; use ano"),
        ({"objective": "loss"}, "objective 'loss' needs data; pass model= and data="),
    ],
)
def test_bad_options_are_rejected(options, message):
    _, symmetry, (a, b), _ = tiny("one layer")
    with pytest.raises(OneBasinError, match=f"match_exhaustive: {message}"):
        match_exhaustive(symmetry, a, b, **options)


def test_large_counts_are_written_as_powers():
    model = nn.Sequential(nn.Linear(3, 512), nn.ReLU(), nn.Linear(512, 2))
    symmetry = infer_symmetry(model, torch.zeros(2, 3))
    with pytest.raises(OneBasinError, match=r"the symmetry has 10\^1166.5 permutations"):
        match_exhaustive(symmetry, model.state_dict(), model.state_dict())


def test_other_tensors_are_rejected():
    _, symmetry, (a, b), _ = tiny("one layer")
    with pytest.raises(OneBasinError, match=r"match_exhaustive: tensor '0.bias'.* missing in B"):
        match_exhaustive(symmetry, a, {n: t for n, t in b.items() if n != "0.bias"})
    broken = {**b, "0.bias": torch.full((5,), float("nan"))}
    with pytest.raises(OneBasinError, match=r"match_exhaustive: tensor '0.bias' of B has NaN"):
        match_exhaustive(symmetry, a, broken)
