import math

import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.evaluation._losses import measure_batch, measure_batch_together
from onebasin.evaluation._paths import point_at, point_between
from onebasin.evaluation._points import evaluate_points
from onebasin.evaluation.evaluator import evaluator
from onebasin.evaluation.together import evaluate_together, num_at_once
from onebasin.graph.binding import FunctionalModel
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


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_together_equals_one_by_one(norm, batch_size):
    networks = [mlp(seed, norm=norm).state_dict() for seed in range(3)]
    data = {
        "train": evaluator(*examples(), batch_size=batch_size),
        "test": evaluator(*examples(20, 1), batch_size=batch_size),
    }
    model = mlp(0, norm=norm)
    one, all_ = (
        evaluate_points(model, networks, POINTS, data, together=together)
        for together in (False, True)
    )
    for alone, together in zip(one, all_, strict=True):
        for split in data:
            # Beyond the networks a variance can be negative; then both are not a number.
            expected = pytest.approx(alone[split].loss, rel=1e-6, nan_ok=norm)
            assert together[split].loss == expected
            assert together[split].error == alone[split].error
            assert together[split].num_examples == alone[split].num_examples
    assert model.training


def test_networks_are_evaluated_without_changes():
    evaluate = evaluator(*examples())
    result = evaluate_points(mlp(0), NETWORKS, POINTS, {"": evaluate}, together=True)
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
    result = evaluate_points(
        mlp(0), NETWORKS, POINTS[:3], {"": evaluate}, prepare=prepare, together=True
    )
    assert_same(prepared[0], point_between(NETWORKS[0], NETWORKS[1], 0.5))
    assert len(prepared) == 1
    assert result[1][""].loss == pytest.approx(evaluate(mlp(2).eval()).loss, rel=1e-6)
    assert result[0][""] == evaluate(mlp(0).eval())


def test_unsupported_models_are_evaluated_one_by_one():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 3)

        def forward(self, x):
            return self.inner(x) if self.inner.bias.sum() > 0 else -self.inner(x)

    torch.manual_seed(0)
    networks = [Branching().state_dict() for _ in range(2)]
    points = [{0: a, 1: 1 - a} for a in (0.25, 0.5, 0.75)]
    data = {"": evaluator(*examples())}
    alone = evaluate_points(Branching(), networks, points, data, together=False)
    assert evaluate_points(Branching(), networks, points, data, together=True) == alone


def test_progress_counts_different_points():
    calls = []
    evaluate_points(
        mlp(0),
        NETWORKS,
        POINTS,
        {"": evaluator(*examples())},
        progress=lambda *done: calls.append(done),
    )
    assert calls == [(1, 5), (2, 5), (5, 5)]


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", nn.CrossEntropyLoss(reduction="none")])
def test_every_loss_is_measured_together(loss):
    inputs, labels = examples()
    labels = torch.randn(50, 3) if loss == "mse" else labels
    evaluate = evaluator(inputs, labels, loss=loss)
    result = evaluate_together(mlp(0), NETWORKS, evaluate)
    for network, evaluation in zip(NETWORKS, result, strict=True):
        alone = evaluate(FunctionalModel(mlp(0), network))
        assert evaluation.loss == pytest.approx(alone.loss, rel=1e-6)
        assert (evaluation.error == alone.error) or math.isnan(alone.error)


@pytest.mark.parametrize("precise", [{0, 1, 2}, {1}])
def test_networks_of_higher_precision_than_model_and_data_go_together(precise):
    networks = [
        {name: tensor.double() if i in precise else tensor for name, tensor in network.items()}
        for i, network in enumerate(NETWORKS)
    ]
    evaluate = evaluator(*examples())
    result = evaluate_together(mlp(0), networks, evaluate)
    for network, together in zip(networks, result, strict=True):
        alone = evaluate(FunctionalModel(mlp(0), network))
        assert together.loss == pytest.approx(alone.loss, rel=1e-6)
        assert together.error == alone.error


def test_tokens_that_do_not_count_do_not_count_together():
    outputs = torch.randn(2, 4, 5, 3)
    labels = torch.randint(3, (4, 5))
    labels[0, :3] = -100
    result = measure_batch_together(outputs, labels, "cross_entropy")
    for part, each in zip(result, outputs, strict=True):
        alone = measure_batch(each, labels, "cross_entropy")
        assert part.num_examples == alone.num_examples == 17
        assert part.wrong == alone.wrong
        assert part.loss == pytest.approx(alone.loss, rel=1e-6)


def test_no_examples_and_wrong_labels_are_named_together():
    with pytest.raises(OneBasinError, match="the data has no examples"):
        evaluate_together(mlp(0), NETWORKS, evaluator([]))
    evaluate = evaluator(examples()[0], torch.zeros(50))
    with pytest.raises(OneBasinError, match="cross_entropy needs outputs"):
        evaluate_together(mlp(0), NETWORKS, evaluate)
    with pytest.raises(OneBasinError, match="cross_entropy needs outputs"):
        evaluate_points(mlp(0), NETWORKS, POINTS, {"": evaluate}, together=True)


def test_small_networks_go_together_and_others_do_not():
    assert num_at_once([torch.zeros(4, 4)]) == 32
    assert num_at_once([torch.zeros(128, 128)]) == 16
    assert num_at_once([torch.zeros(129, 129)]) == 1
    assert num_at_once([torch.zeros(4, 4, 3, 3)]) == 1


def test_a_point_is_the_weighted_sum():
    point = point_at(NETWORKS, {0: 0.5, 1: -0.7, 2: 1.2})
    for name, tensor in point.items():
        a, b, c = (network[name] for network in NETWORKS)
        torch.testing.assert_close(tensor, 0.5 * a - 0.7 * b + 1.2 * c)


def test_a_point_of_equal_networks_is_exactly_theirs():
    same = [copy_of(NETWORKS[0]) for _ in range(3)]
    assert_same(point_at(same, {0: 0.1, 1: 0.2, 2: 0.7}), NETWORKS[0])
    assert_same(point_at(same, {0: 1.7, 1: -0.7}), NETWORKS[0])


def test_a_point_has_the_dtypes_and_integers_of_the_first():
    networks = [{"w": torch.ones(1).bfloat16() * i, "n": torch.tensor(i)} for i in (1, 2, 3)]
    point = point_at(networks, {2: 1.0, 0: -1.0, 1: 1.0})
    assert_same(point, {"w": torch.tensor([4.0]).bfloat16(), "n": torch.tensor(3)})


def test_mismatched_networks_are_rejected():
    other = {**NETWORKS[2], "0.bias": torch.zeros(5)}
    with pytest.raises(OneBasinError, match=r"'0.bias' is \(8,\) in params_a but \(5,\)"):
        point_at([NETWORKS[0], NETWORKS[1], other], {0: 0.5, 1: 0.25, 2: 0.25})
    with pytest.raises(OneBasinError, match="'more' is in params_b but not in params_a"):
        point_at([NETWORKS[0], {**NETWORKS[1], "more": torch.zeros(1)}], {0: 2.0, 1: -1.0})
