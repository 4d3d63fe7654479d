"""Annealing: the best of all permutations on tiny networks, never worse anywhere."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin.evaluation import evaluator
from onebasin.matching import (
    enumerate_permutations,
    match_annealing,
    match_exhaustive,
    match_many_annealing,
)
from onebasin.matching._annealing.evaluated import average
from tests.matching.tiny import tiny

STEPS = {"one layer": 2000, "two layers": 800, "three layers": 400, "heads": 150, "square": 100}


@pytest.mark.parametrize(
    ("name", "energy"), [*((name, "loss") for name in STEPS), ("two layers", "error")]
)
def test_best_permutation_is_found(name, energy):
    model, symmetry, (a, b), data = tiny(name)
    given = {"model": model, "data": data}
    best = match_exhaustive(symmetry, a, b, objective=energy, **given)
    # The published temperatures are far above any change of the energy for most of the steps.
    options = {"energy": energy, "steps": STEPS[name], "schedule": "published", **given}
    result = match_annealing(symmetry, a, b, **options)
    assert result.objective[0] == pytest.approx(best.objective[0], abs=1e-6)
    assert result.objective[-1] == pytest.approx(best.objective[-1], abs=1e-6)
    halfway = average([a, result.permutation.apply(b)])
    assert measured(model, halfway, data, energy) == pytest.approx(-result.objective[-1], abs=1e-6)


def measured(model, params, data, energy) -> float:
    model.load_state_dict(params)
    return getattr(evaluator(data)(model), energy)


@pytest.mark.parametrize("averages", ["all", "pairs"])
def test_best_permutations_of_three_networks_are_found(averages):
    model, symmetry, networks, data = tiny("three units", 3)
    pairs = [(0, 1), (0, 2), (1, 2)] if averages == "pairs" else [(0, 1, 2)]

    def energy(moved) -> float:
        means = (average([moved[m] for m in members]) for members in pairs)
        return sum(measured(model, mean, data, "loss") for mean in means) / len(pairs)

    every = list(enumerate_permutations(symmetry))
    values = [
        energy([networks[0], p.apply(networks[1]), q.apply(networks[2])])
        for p, q in product(every, every)
    ]
    result = match_many_annealing(
        symmetry, networks, model=model, data=data, averages=averages, steps=1000,
        schedule="published",
    )  # fmt: skip
    assert result.permutations[0].equals(Permutation.identity(symmetry))
    assert energy(result.apply(networks)) == pytest.approx(-result.objective[-1], abs=1e-6)
    assert -result.objective[-1] == pytest.approx(min(values), abs=1e-6)


def test_five_networks_never_get_worse():
    model, symmetry, networks, data = tiny("one layer", 5)
    for averages in ("all", "pairs"):
        result = match_many_annealing(
            symmetry, networks, model=model, data=data, averages=averages, steps=500, restarts=2
        )
        assert len(result.permutations) == 5
        assert result.objective[-1] > result.objective[0]
        assert all(late >= early for early, late in pairwise(result.objective))
        assert max(result.restarts) == result.objective[-1]


@pytest.mark.parametrize(("schedule", "move"), [("calibrated", "every"), ("published", "one")])
@pytest.mark.parametrize("name", ["two layers", "convolution"])
def test_result_is_never_worse(name, schedule, move):
    model, symmetry, (a, b), data = tiny(name)
    init = match_exhaustive(
        symmetry, a, b, objective="loss", model=model, data=data
    ).permutation  # nothing is better than where it begins
    options = {"model": model, "data": data, "move": move, "schedule": schedule, "steps": 25}
    result = match_annealing(symmetry, a, b, init=init, **options)
    assert result.objective[-1] == pytest.approx(result.objective[0], abs=1e-6)
    assert result.objective[-1] >= result.objective[0]


def test_batch_statistics_change_the_energy():
    model, symmetry, (a, b), data = tiny("convolution")
    averaged, batch = (
        match_annealing(
            symmetry, a, b, model=model, data=data, steps=20, normalization=normalization
        )
        for normalization in ("interpolated", "batch")
    )
    assert averaged.objective[0] != batch.objective[0]


def test_same_seed_gives_the_same_result():
    model, symmetry, (a, b), data = tiny("one layer")
    options = {"model": model, "data": data, "steps": 60, "restarts": 3}
    first, same, other = (match_annealing(symmetry, a, b, seed=s, **options) for s in (1, 1, 2))
    assert first.objective == same.objective
    assert first.restarts == same.restarts
    assert first.permutation.equals(same.permutation)
    assert first.objective != other.objective


def test_inputs_are_not_changed():
    model, symmetry, (a, b), data = tiny("convolution")
    before = [{name: tensor.clone() for name, tensor in params.items()} for params in (a, b)]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    match_annealing(symmetry, a, b, model=model, data=data, steps=30, normalization="batch")
    for params, kept in zip((a, b, model.state_dict()), (*before, state), strict=True):
        assert all(torch.equal(params[name], kept[name]) for name in kept)


def test_progress_counts_steps():
    model, symmetry, (a, b), data = tiny("one layer")
    steps = []
    match_annealing(
        symmetry, a, b, model=model, data=data, steps=120, restarts=2, progress=steps.append
    )
    assert {step.start for step in steps} == {0, 1}
    first = [step for step in steps if step.start == 0]
    assert first[-1].done == first[-1].total == 120
    assert len(first) == 50
    assert all(late.objective >= early.objective for early, late in pairwise(first))


def test_no_groups_give_the_identity():
    model = nn.Linear(3, 2)
    params, data = dict(model.state_dict()), [(torch.zeros(4, 3), torch.zeros(4).long())]
    result = match_annealing(
        infer_symmetry(model, torch.zeros(2, 3)), params, params, model=model, data=data
    )
    assert result.permutation.indices == {}
    assert result.num_sweeps == 0


def inputs_of(data):
    return [batch for batch, _ in data]


BAD_DATA = [
    ([], "the data has no batches; pass at least one"),
    ([torch.zeros(4, 3)], r"batch 0 of the data \(Tensor\) has no labels; pass \(inputs, labels\)"),
    ([(torch.zeros(4, 3), torch.zeros(4))], "the labels of batch 0 are torch.float32"),
    ([(torch.zeros(4, 7), torch.zeros(4).long())], "the model does not run on batch 0"),
    ([(torch.full((4, 3), float("nan")), torch.zeros(4).long())], "the loss on batch 0 .* is nan"),
]


@pytest.mark.parametrize(("data", "message"), BAD_DATA)
def test_bad_data_is_rejected(data, message):
    model, symmetry, (a, b), _ = tiny("one layer")
    with pytest.raises(OneBasinError, match=f"match_annealing: {message}"):
        match_annealing(symmetry, a, b, model=model, data=data)


BAD_OPTIONS = [
    ({"steps": 0}, "steps is 0; it must be a whole number of at least 1"),
    ({"cache_bytes": 1000}, r"take [\d,]{4,} bytes, but cache_bytes is 1,000; pass fewer"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_bad_options_are_rejected(options, message):
    model, symmetry, (a, b), data = tiny("one layer")
    with pytest.raises(OneBasinError, match=f"match_annealing: .*{message}"):
        match_annealing(symmetry, a, b, model=model, data=data, **options)


def test_bad_networks_are_rejected():
    model, symmetry, (a, b), data = tiny("one layer")
    given = {"model": model, "data": data}
    with pytest.raises(OneBasinError, match=r"match_many_annealing: .*give at least two"):
        match_many_annealing(symmetry, [a], **given)
    broken = {**b, "2.weight": torch.full((3, 5), float("inf"))}
    with pytest.raises(OneBasinError, match=r"'2.weight' of .* has NaN or infinite entries"):
        match_annealing(symmetry, a, broken, **given)
    other = tiny("two layers")[1]
    with pytest.raises(OneBasinError, match="init belongs to another symmetry"):
        match_annealing(symmetry, a, b, init=Permutation.identity(other), **given)
