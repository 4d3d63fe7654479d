"""The shared tasks on digits: training, matching and evaluation."""

import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin_studies import Result, Task
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.tasks import (
    evaluate_network,
    match_pair,
    measure_barrier,
    measure_curve,
    permute_network,
    train_networks,
)
from onebasin_studies.tasks.specs import batches_of, data_of, evaluator_of
from tests.studies import toy
from tests.studies.runs import run

DATA = {"name": "digits", "max_train_examples": 400, "max_test_examples": 100}
SETTING = {"data": DATA, "network": {"name": "mlp", "width": 32, "depth": 2}}
RECIPE = {"epochs": 60}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two networks, B moved to A, and where all three are."""
    a, b = Task.map(train_networks, **SETTING, recipe=RECIPE, seeds=[0, 1])
    moved = Task.of(match_pair, **SETTING, a=a, b=b)
    out = tmp_path_factory.mktemp("pair")
    outcome = run(out, toy.study("pair", a, b, moved))
    assert outcome.is_complete, outcome.failures
    store = StudyFolder(out).store
    return [store.load(task.key) for task in (a, b, moved)]


def by_split(result):
    return {row["split"]: row for row in result.rows}


def test_each_seed_has_network_and_history(pair):
    for seed, network in enumerate(pair[:2]):
        assert network.tensors["layers.0.weight"].shape == (32, 64)
        assert [row["seed"] for row in network.rows] == [seed] * 60
        assert [row["epoch"] for row in network.rows] == list(range(1, 61))
        assert network.rows[-1]["loss"] < network.rows[0]["loss"] / 3
    assert not torch.equal(pair[0].tensors["layers.0.weight"], pair[1].tensors["layers.0.weight"])


def test_aligned_network_computes_the_same_and_is_closer(pair):
    a, b, moved = pair
    found = [by_split(evaluate_network(**SETTING, params=p)) for p in (b, moved)]
    for split in ("train", "test"):
        assert found[0][split]["loss"] == pytest.approx(found[1][split]["loss"], rel=1e-4)
        assert found[0][split]["error"] == found[1][split]["error"]

    def distance(other):
        return sum(float((a.tensors[n] - other.tensors[n]).square().sum()) for n in a.tensors)

    assert distance(moved) < 0.9 * distance(b)
    (row,) = moved.rows
    assert (row["method"], row["converged"]) == ("weights", True)


def test_barriers_are_those_of_the_curves_and_fall_with_alignment(pair):
    a, b, moved = pair
    found = {}
    for name, end in (("naive", b), ("aligned", moved)):
        barriers = by_split(measure_barrier(**SETTING, a=a, b=end, num_points=5))
        curve = measure_curve(**SETTING, a=a, b=end, num_points=5)
        assert len(curve.rows) == 10
        for split, row in barriers.items():
            points = [p for p in curve.rows if p["split"] == split]
            assert [p["alpha"] for p in points] == [0, 0.25, 0.5, 0.75, 1]
            first, last = points[0], points[-1]
            excess = [
                p["loss"] - first["loss"] - p["alpha"] * (last["loss"] - first["loss"])
                for p in points
            ]
            assert row["barrier"] == pytest.approx(max(0, *excess))
            assert (row["loss_b"], row["loss_a"]) == (first["loss"], last["loss"])
            assert row["midpoint_loss"] == points[2]["loss"]
        found[name] = barriers["train"]["barrier"]
    assert found["aligned"] < 0.5 * found["naive"]


def test_permuted_network_is_matched_back_exactly(pair):
    a = pair[0]
    permuted = permute_network(**SETTING, params=a, seed=3)
    assert not torch.equal(permuted.tensors["layers.0.weight"], a.tensors["layers.0.weight"])
    other = permute_network(**SETTING, params=a, seed=4)
    assert not torch.equal(permuted.tensors["layers.0.bias"], other.tensors["layers.0.bias"])
    back = match_pair(**SETTING, a=a, b=permuted)
    for name in a.tensors:
        assert torch.equal(back.tensors[name], a.tensors[name])


def test_method_receives_data(pair):
    moved = match_pair(**SETTING, a=pair[0], b=pair[1], method="activations")
    assert moved.rows[0]["method"] == "activations"


def test_options_of_a_method_are_checked(pair):
    a, b, _ = pair
    with pytest.raises(OneBasinError, match=r"match_pair: unknown method 'x'; known are: weights"):
        match_pair(**SETTING, a=a, b=b, method="x")
    with pytest.raises(OneBasinError, match=r"method weights has no option 'x'"):
        match_pair(**SETTING, a=a, b=b, options={"x": 1})


def test_unknown_names_in_a_task_raise():
    nothing = Result()
    with pytest.raises(OneBasinError, match=r"unknown dataset 'x'"):
        evaluate_network(data="x", network="mlp", params=nothing)
    with pytest.raises(OneBasinError, match=r"network: unknown 'x'"):
        evaluate_network(data="digits", network="x", params=nothing)
    with pytest.raises(OneBasinError, match=r"network: \{'width': 3\} has no name; give one"):
        evaluate_network(data="digits", network={"width": 3}, params=nothing)


def test_split_is_train_or_test():
    data = data_of(DATA)
    assert [len(batches_of(data, split, batch_size=100)) for split in ("train", "test")] == [4, 1]
    for make in (batches_of, evaluator_of):
        with pytest.raises(OneBasinError, match=r"split is 'x'; it must be train or test"):
            make(data, "x")


def test_random_state_is_unchanged(pair):
    before = torch.random.get_rng_state()
    evaluate_network(**SETTING, params=pair[0])
    assert torch.equal(before, torch.random.get_rng_state())


def test_recipe_can_spawn_and_contain_lists(tmp_path):
    recipe = {"epochs": 3, "schedule": "steps", "milestones": [1.0, 2.0], "spawn_epoch": 1}
    (task,) = Task.map(train_networks, **SETTING, recipe=recipe, seeds=[5])
    outcome = run(tmp_path, toy.study("one", task))
    assert outcome.is_complete, outcome.failures[0].traceback
    assert len(StudyFolder(tmp_path).store.load(task.key).rows) >= 2
