import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin.evaluation._paths import point_at, point_between
from onebasin.evaluation._points import evaluate_points
from onebasin.evaluation.evaluator import evaluator
from tests.evaluation.networks import assert_same, copy_of, examples, mlp

NETWORKS = [mlp(seed).state_dict() for seed in range(3)]
POINTS = [
    {0: 1.0},
    {0: 0.5, 1: 0.5},
    {1: 1.0},
    {0: 0.2, 1: 0.3, 2: 0.5},
    {0: 2.0, 2: -1.0},
    {1: 0.5, 0: 0.5},
]


def test_networks_are_evaluated_without_changes():
    evaluate = evaluator(*examples())
    result = evaluate_points(mlp(0), NETWORKS, POINTS, {"": evaluate})
    assert result[0][""] == evaluate(mlp(0).eval())
    assert result[2][""] == evaluate(mlp(1).eval())


def test_equal_points_are_evaluated_once():
    seen = []

    def evaluate(model):
        seen.append(next(model.parameters()).clone())
        return float(len(seen))

    result = evaluate_points(mlp(0), NETWORKS, [*POINTS, POINTS[0]], {"": evaluate})
    assert len(seen) == 5
    assert result[0] == result[-1]
    assert result[1] == result[5]


def test_points_are_prepared_and_networks_are_not():
    prepared = []

    def prepare(params, networks, shares):
        assert networks is NETWORKS and shares == POINTS[1]
        prepared.append(params)
        return NETWORKS[2]

    evaluate = evaluator(*examples())
    result = evaluate_points(mlp(0), NETWORKS, POINTS[:3], {"": evaluate}, prepare=prepare)
    assert_same(prepared[0], point_between(NETWORKS[0], NETWORKS[1], 0.5))
    assert len(prepared) == 1
    assert result[1][""].loss == pytest.approx(evaluate(mlp(2).eval()).loss, rel=1e-6)
    assert result[0][""] == evaluate(mlp(0).eval())


def test_progress_counts_different_points():
    calls = []
    evaluate_points(
        mlp(0),
        NETWORKS,
        POINTS,
        {"": evaluator(*examples())},
        progress=lambda *done: calls.append(done),
    )
    assert calls == [(done, 5) for done in range(1, 6)]


def test_point_is_the_weighted_sum():
    point = point_at(NETWORKS, {0: 0.5, 1: -0.7, 2: 1.2})
    for name, tensor in point.items():
        a, b, c = (network[name] for network in NETWORKS)
        torch.testing.assert_close(tensor, 0.5 * a - 0.7 * b + 1.2 * c)


def test_point_between_equal_networks_is_exact():
    same = [copy_of(NETWORKS[0]) for _ in range(3)]
    assert_same(point_at(same, {0: 0.1, 1: 0.2, 2: 0.7}), NETWORKS[0])
    assert_same(point_at(same, {0: 1.7, 1: -0.7}), NETWORKS[0])


def test_point_has_the_dtypes_and_integers_of_the_first():
    networks = [{"w": torch.ones(1).bfloat16() * i, "n": torch.tensor(i)} for i in (1, 2, 3)]
    point = point_at(networks, {2: 1.0, 0: -1.0, 1: 1.0})
    assert_same(point, {"w": torch.tensor([4.0]).bfloat16(), "n": torch.tensor(3)})


def test_mismatched_networks_are_rejected():
    other = {**NETWORKS[2], "0.bias": torch.zeros(5)}
    with pytest.raises(OneBasinError, match=r"'0.bias' is \(8,\) in params_a but \(5,\)"):
        point_at([NETWORKS[0], NETWORKS[1], other], {0: 0.5, 1: 0.25, 2: 0.25})
    with pytest.raises(OneBasinError, match="'more' is in params_b but not in params_a"):
        point_at([NETWORKS[0], {**NETWORKS[1], "more": torch.zeros(1)}], {0: 2.0, 1: -1.0})
