"""Studies of searches of Entezari et al.: verdicts on given rows, and tasks."""

import math

import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin_studies import find_study
from onebasin_studies.papers.entezari.annealing import gains
from onebasin_studies.papers.entezari.search import reduced
from onebasin_studies.papers.entezari.theorem import measure_construction
from onebasin_studies.runtime.task import Result
from onebasin_studies.tasks.bundles import select_network
from onebasin_studies.tasks.matching import anneal_networks
from onebasin_studies.tasks.measuring import evaluate_network, measure_barrier, measure_set
from onebasin_studies.tasks.merging import merge_networks
from onebasin_studies.tasks.training import train_line, train_networks

SETTING = {"data": "digits", "network": {"name": "mlp", "depth": 1, "width": 12}}
POINT = {"family": "mlp", "data": "mnist", "normalization": "interpolated"}


@pytest.fixture(scope="module")
def networks():
    recipe = {"epochs": 15, "learning_rate": 0.01}
    return train_networks(**SETTING, recipe=recipe, seeds=[0, 1, 2])


def evaluable(name, rows):
    return find_study(name).verdict(rows).outcome


def annealed(axis, depth, number, gain, spread=0.02, sets=3):
    """Rows of sets whose barrier of 0.4 shrinks by about a gain."""
    rows = []
    for number_of_set in range(sets):
        after = 0.4 * (1 - gain - spread * (number_of_set - 1))
        for state, barrier in (("before", 0.4), ("after", after)):
            labels = {"axis": axis, "width": 64, "depth": depth, "networks": number}
            row = {"set": number_of_set, "state": state, "split": "train", "barrier": 1.0}
            rows.append({**POINT, **labels, **row, "error_barrier": barrier})
    return rows


def test_annealing_gains_with_two_shallow_networks_only():
    two, five, deep = (
        annealed("width", 1, 2, 0.8),
        annealed("width", 1, 5, 0.1),
        annealed("depth", 8, 2, 0.2),
    )
    shallow = annealed("depth", 1, 2, 0.8)
    assert [round(row["gain"], 2) for row in gains(two)] == [0.78, 0.8, 0.82]
    assert evaluable("annealing", [*two, *five, *shallow, *deep]) == "reproduced"
    less = annealed("width", 1, 2, 0.52, spread=0.1)
    assert evaluable("annealing", [*less, *five, *shallow, *deep]) == "not reproduced"
    more = annealed("width", 1, 5, 0.8)
    assert evaluable("annealing", [*two, *more, *shallow, *deep]) == "not reproduced"
    deeper = annealed("depth", 8, 2, 0.8)
    assert evaluable("annealing", [*two, *five, *shallow, *deeper]) == "not reproduced"
    assert evaluable("annealing", [*two, *five, *shallow]) == "not enough data"
    assert evaluable("annealing", [*two, *five, *deep[:4]]) == "not enough data"
    none = [{**row, "error_barrier": 0.0, "barrier": 0.0} for row in two]
    assert evaluable("annealing", [*none, *five, *shallow, *deep]) == "not enough data"
    cnn = [{**row, "family": "shallow-cnn"} for row in two]
    assert evaluable("annealing", [*cnn, *five, *shallow, *deep]) == "not enough data"
    for data in ("cifar10", "digits"):
        elsewhere = [{**row, "data": data} for row in two]
        assert evaluable("annealing", [*elsewhere, *five, *shallow, *deep]) == "not enough data"


def walks(*means, pairs=3, schedule="published", spread=0.0, last=50_000):
    """Rows whose mean barriers are these: after 10, 100, ... steps, and after the last."""
    return [
        {
            **POINT,
            "kind": "barrier",
            "split": "train",
            "schedule": schedule,
            "width": 16,
            "pair": pair,
            "steps": 10 ** (1 + k) if k < len(means) - 1 else last,
            "error_barrier": mean + (0.01 + spread * (-1) ** k) * (pair - 1),
        }
        for k, mean in enumerate(means)
        for pair in range(pairs)
    ]


def test_the_barrier_must_fall_with_every_increase_of_the_steps():
    assert evaluable("annealing-cost", walks(0.4, 0.3, 0.1)) == "reproduced"
    assert evaluable("annealing-cost", walks(0.4, 0.3, 0.31)) == "not reproduced"
    assert evaluable("annealing-cost", walks(0.4, 0.3, 0.1, spread=0.05)) == "not reproduced"
    assert evaluable("annealing-cost", walks(0.4, 0.3, 0.1, pairs=2)) == "not enough data"
    assert evaluable("annealing-cost", walks(0.4, 0.3)) == "not enough data"
    rows = walks(0.4, 0.3, 0.1, schedule="calibrated")
    assert evaluable("annealing-cost", rows) == "not enough data"
    assert evaluable("annealing-cost", walks(0.4, 0.3, 0.1, last=1000)) == "not enough data"
    short = find_study("annealing-cost").verdict(walks(0.4, 0.3, 0.1, last=1000))
    assert short.sentence == "Width 16: 1,000 steps at most, not 50,000."


def test_published_barriers_are_shown_for_mnist_only():
    study = find_study("annealing-cost")
    columns = study.table(walks(0.4, 0.3, 0.2)).header
    at = columns.index("published")
    rows = walks(0.4, 0.3, 0.2)
    assert [row[at] for row in study.table(rows).rows] == ["0.47", "0.331", "0.055"]
    assert [row[at] for row in study.table(_on("digits", rows)).rows] == ["-", "-", "-"]
    told = study.verdict(walks(0.4, 0.3, 0.05, 0.04)).sentence
    assert "(published: 0.055 at 50,000, reached at 1,000 steps here)" in told
    assert "not reached here" in study.verdict(rows).sentence
    assert "published" not in study.verdict(_on("cifar10", rows)).sentence


def moved(annealing, difference, pairs=3, spread=0.005):
    return [
        {**POINT, "split": "train", "width": 64, "depth": 1, "pair": pair, "method": method}
        | {"error_barrier": mean + sign * spread * (pair - 1), "barrier": 1.0}
        for pair in range(pairs)
        for method, mean, sign in (
            ("annealing (published)", annealing, 1),
            ("functional difference", difference, -1),
            ("none", 0.5, 0),
        )
    ]


def test_functional_difference_must_be_lower_pair_by_pair():
    assert evaluable("functional-difference", moved(0.3, 0.1)) == "reproduced"
    assert evaluable("functional-difference", moved(0.1, 0.3)) == "not reproduced"
    assert evaluable("functional-difference", moved(0.2, 0.199, spread=0.1)) == "not reproduced"
    assert evaluable("functional-difference", moved(0.3, 0.1, pairs=2)) == "not enough data"
    only = [row for row in moved(0.3, 0.1) if row["method"] == "none"]
    assert evaluable("functional-difference", only) == "not enough data"


def middles(*accuracies, pairs=3):
    return [
        {"data": "mnist", "row": "candidate", "pair": pair, "name": name}
        | {"accuracy": accuracy + 0.001 * pair, "loss": 0.1, "ece": 0.01}
        for pair in range(pairs)
        for name, accuracy in zip(("FD", "SL", "FD+SL"), accuracies, strict=False)
    ]


def test_the_middles_must_be_in_the_order_of_table_3():
    assert evaluable("ensembles", middles(0.96, 0.97, 0.98)) == "reproduced"
    assert evaluable("ensembles", middles(0.97, 0.96, 0.98)) == "not reproduced"
    assert evaluable("ensembles", middles(0.96, 0.98, 0.97)) == "not reproduced"
    assert evaluable("ensembles", middles(0.96, 0.97)) == "not enough data"
    assert evaluable("ensembles", middles(0.96, 0.97, 0.98, pairs=2)) == "not enough data"
    mixed = [*middles(0.96, 0.97, 0.98), *_on("cifar10", middles(0.5, 0.4, 0.6))]
    assert evaluable("ensembles", mixed) == "not reproduced"


def _on(data, rows):
    return [{**row, "data": data} for row in rows]


def draws(exponent, random=0.0, num=24, dimension=1):
    generator = torch.Generator().manual_seed(0)
    return [
        {"dimension": dimension, "width": 2**k, "draw": draw, "in_cell": 0.9}
        | {"matched": noise * 2 ** (exponent * k), "random": noise * 2 ** (random * k)}
        for k in range(6, 13)
        for draw, noise in enumerate((0.9 + 0.2 * torch.rand(num, generator=generator)).tolist())
    ]


def test_the_slope_must_be_as_steep_as_guaranteed_and_that_of_chance_flat():
    assert evaluable("theorem", draws(-0.2)) == "reproduced"
    assert evaluable("theorem", draws(-0.1)) == "not reproduced"
    assert evaluable("theorem", draws(-0.1, dimension=4)) == "reproduced"
    assert evaluable("theorem", draws(-0.2, random=-0.1)) == "not reproduced"
    assert evaluable("theorem", [*draws(-0.2), *draws(-0.1, dimension=2)]) == "not reproduced"
    assert evaluable("theorem", draws(-0.2, num=8)) == "not enough data"
    assert (
        evaluable("theorem", [*draws(-0.2), *draws(-0.2, num=8, dimension=2)]) == "not enough data"
    )


def test_the_construction_brings_wide_networks_together():
    options = {"dimension": 2, "draws": 48, "inputs": 8}
    rows = measure_construction(width=1024, **options).rows
    assert rows == measure_construction(width=1024, **options).rows
    assert all(row["in_cell"] > 0.75 for row in rows)
    matched, random = (sum(row[state] for row in rows) / 48 for state in ("matched", "random"))
    assert matched < 0.6 * random
    assert random == pytest.approx(_expected_at_random(), rel=0.35)


def _expected_at_random():
    """The mean of |x| of a normal variable that has the variance of the sum over all units."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.nn.functional.normalize(torch.randn(100_000, 2, generator=generator)) * 2**0.5
    z_a, z_b = (
        ((torch.rand(100_000, 2, generator=generator) * 2 - 1) / 2**0.5 * inputs).sum(1)
        for _ in range(2)
    )
    change = ((z_a + z_b) / 2).relu() - z_a.relu()
    # Of each of 2h outgoing weights, with variance 1/(3h), half counts.
    variance = 2 / 3 / 4 * float(change.square().mean())
    return (2 / math.pi * variance) ** 0.5


def test_two_networks_as_a_set_are_measured_like_a_pair(networks):
    a, b, _ = networks
    (train, test) = measure_set(**SETTING, networks=[a, b], num_points=5).rows
    pair = measure_barrier(**SETTING, a=a, b=b, num_points=5).rows
    for found, wanted in zip((train, test), pair, strict=True):
        assert found["barrier"] == pytest.approx(wanted["barrier"], abs=1e-5)
        assert found["error_barrier"] == pytest.approx(wanted["error_barrier"], abs=1e-6)
        assert found["average_error"] == pytest.approx(wanted["midpoint_error"], abs=1e-6)
        assert found["error"] == pytest.approx((wanted["error_a"] + wanted["error_b"]) / 2)


def test_a_set_has_the_mean_of_its_pairs_and_one_average(networks):
    (row,) = measure_set(**SETTING, networks=networks, num_points=3, splits=["test"]).rows
    pairs = [(0, 1), (0, 2), (1, 2)]
    single = [
        measure_set(**SETTING, networks=[networks[i], networks[j]], num_points=3, splits=["test"])
        for i, j in pairs
    ]
    assert row["pairs"] == 3
    mean = sum(each.rows[0]["barrier"] for each in single) / 3
    assert row["barrier"] == pytest.approx(mean, abs=1e-5)
    merged = merge_networks(**SETTING, members=networks)
    (alone,) = evaluate_network(**SETTING, params=merged, splits=["test"]).rows
    assert row["average_error"] == pytest.approx(alone["error"], abs=1e-6)


def test_annealed_networks_compute_the_same_and_average_better(networks):
    before = [{name: tensor.clone() for name, tensor in n.tensors.items()} for n in networks]
    found = anneal_networks(**SETTING, networks=networks, steps=300, schedule="calibrated")
    ends = [networks[0], *(select_network(networks=found, number=n) for n in (1, 2))]
    for end, network in zip(ends, networks, strict=True):
        was, now = (evaluate_network(**SETTING, params=each).rows for each in (network, end))
        assert [row["error"] for row in was] == [row["error"] for row in now]
    (cost,) = found.rows
    (after,) = measure_set(**SETTING, networks=ends, num_points=3, splits=["train"]).rows
    (start,) = measure_set(**SETTING, networks=networks, num_points=3, splits=["train"]).rows
    assert cost["energy_after"] < cost["energy_before"]
    assert cost["energy_before"] == pytest.approx(start["average_error"], abs=2e-3)
    assert cost["energy_after"] == pytest.approx(after["average_error"], abs=2e-3)
    for kept, network in zip(before, networks, strict=True):
        assert all(torch.equal(tensor, network.tensors[name]) for name, tensor in kept.items())
    with pytest.raises(OneBasinError, match=r"unknown network 0; known are \[1, 2\]"):
        select_network(networks=found, number=0)


def test_line_starts_at_the_given_networks(networks):
    recipe = {"epochs": 0, "batch_size": 64, "learning_rate": 0.01, "penalty": 1.0}
    found = train_line(**SETTING, recipe=recipe, seed=0, start=networks[:2])
    for number, network in enumerate(networks[:2]):
        end = select_network(networks=found, number=number).tensors
        assert all(torch.equal(end[name], tensor) for name, tensor in network.tensors.items())


def test_a_line_is_learned_in_the_middle_with_sgd_and_without(networks):
    recipe = {"epochs": 6, "batch_size": 32, "learning_rate": 0.01, "penalty": 1.0}
    middles = {}
    for name, extra in (("adam", {}), ("sgd", {"momentum": 0.9})):
        found = train_line(**SETTING, recipe={**recipe, **extra}, seed=0)
        assert [row["epoch"] for row in found.rows] == [1, 2, 3, 4, 5, 6]
        ends = [select_network(networks=found, number=number) for number in (0, 1)]
        middles[name] = merge_networks(**SETTING, members=ends)
        (row,) = evaluate_network(**SETTING, params=middles[name], splits=["test"]).rows
        assert row["error"] < 0.35
    assert not all(
        torch.equal(tensor, middles["sgd"].tensors[name])
        for name, tensor in middles["adam"].tensors.items()
    )


def test_fewer_examples_are_never_more():
    assert reduced("mnist", None) == "mnist"
    assert reduced("mnist", 50) == {"name": "mnist", "max_train_examples": 50}
    sample = {"name": "cifar10", "max_train_examples": 100, "max_test_examples": 10}
    assert reduced(sample, 50) == {**sample, "max_train_examples": 50}
    assert reduced(sample, 500) == sample


def test_a_result_without_networks_has_none_to_take():
    with pytest.raises(OneBasinError, match=r"unknown network 1; known are \[\]"):
        select_network(networks=Result(), number=1)
