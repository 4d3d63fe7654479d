import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.evaluation._paths import point_between
from onebasin.evaluation._repair import repair
from onebasin.evaluation.curves import Curve
from onebasin.evaluation.evaluator import evaluator
from onebasin.evaluation.interpolation import interpolate
from onebasin.evaluation.pairs import measure_pairs
from onebasin.evaluation.statistics import reset_statistics
from tests.evaluation.networks import assert_same, copy_of, examples, mlp


def test_points_lie_on_the_line():
    model, a, b = mlp(0), mlp(1).state_dict(), mlp(2).state_dict()
    evaluate = evaluator(*examples())
    curve = interpolate(model, a, b, evaluate, num_points=5)
    assert curve.alphas == (0.0, 0.25, 0.5, 0.75, 1.0)
    for alpha, loss, error in zip(curve.alphas, curve.losses, curve.errors, strict=True):
        other = mlp(0)
        other.load_state_dict({n: alpha * a[n] + (1 - alpha) * b[n] for n in a})
        expected = evaluate(other)
        assert loss == pytest.approx(expected.loss, rel=1e-5)
        assert error == expected.error


def test_alpha_one_is_a():
    model, evaluate = mlp(0), evaluator(*examples())
    a, b = mlp(1), mlp(2)
    curve = interpolate(model, a.state_dict(), b.state_dict(), evaluate, num_points=2)
    assert curve.losses == (evaluate(b).loss, evaluate(a).loss)


def test_grid_has_25_points_by_default():
    curve = interpolate(mlp(0), mlp(1).state_dict(), mlp(2).state_dict(), lambda model: 1.0)
    assert len(curve.alphas) == 25
    assert (curve.alphas[0], curve.alphas[12], curve.alphas[-1]) == (0.0, 0.5, 1.0)


@pytest.mark.parametrize("normalization", ["interpolated", "reset"])
@pytest.mark.parametrize("baseline", ["linear", "mean"])
def test_barrier_of_a_model_with_itself_is_zero(normalization, baseline):
    a = mlp(1, norm=True).state_dict()
    inputs, labels = examples()
    curve = interpolate(
        mlp(0, norm=True),
        a,
        copy_of(a),
        evaluator(inputs, labels, batch_size=7),
        num_points=11,
        normalization=normalization,
        data=[inputs],
    )
    assert curve.barrier("loss", baseline) == 0.0
    assert curve.barrier("error", baseline) == 0.0
    assert len(set(curve.losses)) == 1


def test_inputs_are_not_changed():
    model, a, b = (mlp(seed, norm=True) for seed in range(3))
    kept = [copy_of(m.state_dict()) for m in (model, a, b)]
    model[2].eval()
    inputs, labels = examples()
    interpolate(
        model,
        a.state_dict(),
        b.state_dict(),
        evaluator(inputs, labels),
        num_points=3,
        normalization="reset",
        data=[(inputs, labels)],
    )
    for m, params in zip((model, a, b), kept, strict=True):
        assert_same(m.state_dict(), params)
    assert [m.training for m in model] == [True, True, False, True, True]


def test_reset_recomputes_statistics_between_endpoints_only():
    model, a, b = (mlp(seed, norm=True) for seed in range(3))
    a, b = a.state_dict(), b.state_dict()
    inputs, labels = examples()
    evaluate = evaluator(inputs, labels)
    curve = interpolate(model, a, b, evaluate, num_points=3, normalization="reset", data=[inputs])
    plain = interpolate(model, a, b, evaluate, num_points=3)
    assert (curve.losses[0], curve.losses[2]) == (plain.losses[0], plain.losses[2])
    other = mlp(0, norm=True)
    other.load_state_dict(reset_statistics(other, point_between(a, b, 0.5), [inputs]))
    assert curve.losses[1] == evaluate(other).loss != plain.losses[1]
    assert (curve.normalization, curve.num_reset) == ("reset", 1)
    assert (plain.normalization, plain.num_reset) == ("interpolated", 0)


def test_reset_of_a_model_without_statistics_resets_no_layer():
    model, a, b = mlp(0), mlp(1).state_dict(), mlp(2).state_dict()
    inputs, labels = examples()
    evaluate = evaluator(inputs, labels)
    curve = interpolate(model, a, b, evaluate, num_points=3, normalization="reset", data=[inputs])
    assert curve.num_reset == 0
    assert curve.losses == interpolate(model, a, b, evaluate, num_points=3).losses


def test_custom_functions_get_a_model_in_evaluation_mode():
    seen = []

    def evaluate(model):
        seen.append((next(model.parameters()).clone(), model(torch.ones(1, 4))))
        return seen[-1][1].sum().item(), 0.5

    a, b = mlp(1), mlp(2)
    curve = interpolate(mlp(0), a.state_dict(), b.state_dict(), evaluate, num_points=3)
    assert torch.equal(seen[-1][0], a[0].weight)
    assert torch.equal(seen[-1][1], a.eval()(torch.ones(1, 4)))
    assert not seen[0][1].requires_grad
    assert curve.errors == (0.5, 0.5, 0.5)


def test_progress_counts_the_points():
    calls = []
    interpolate(
        mlp(0),
        mlp(1).state_dict(),
        mlp(2).state_dict(),
        lambda model: 1.0,
        num_points=3,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_entries_that_are_equal_in_a_and_b_are_exact():
    a = {"w": torch.rand(1000), "h": torch.rand(1000).half(), "n": torch.tensor(3)}
    for i in range(1, 24):
        assert_same(point_between(a, copy_of(a), i / 24), a)


def test_point_has_the_dtypes_and_integers_of_a():
    a = {"w": torch.tensor([1.0], dtype=torch.bfloat16), "n": torch.tensor(3)}
    b = {"w": torch.tensor([2.0]), "n": torch.tensor(5)}
    assert_same(point_between(a, b, 0.5), {"w": torch.tensor([1.5]).bfloat16(), "n": a["n"]})


def test_low_precision_is_interpolated_in_float32():
    # In float16 the difference of the two overflows.
    a, b = torch.tensor([60000.0]).half(), torch.tensor([-60000.0]).half()
    assert point_between({"w": a}, {"w": b}, 0.5)["w"] == 0


def test_complex_tensors_are_interpolated():
    a, b = torch.tensor([2 + 2j]), torch.tensor([0 + 0j])
    assert point_between({"w": a}, {"w": b}, 0.5)["w"] == torch.tensor([1 + 1j])


def test_invalid_calls_are_rejected():
    model, a, b = mlp(0, norm=True), mlp(1, norm=True).state_dict(), mlp(2, norm=True).state_dict()
    evaluate = evaluator(*examples())
    with pytest.raises(OneBasinError, match=r'normalization="reset" .* pass data='):
        interpolate(model, a, b, evaluate, normalization="reset")
    with pytest.raises(OneBasinError, match="read only once"):
        interpolate(model, a, b, evaluate, normalization="reset", data=iter([]))
    with pytest.raises(OneBasinError, match="num_points is 1; it must be a whole number of at"):
        interpolate(model, a, b, evaluate, num_points=1)
    with pytest.raises(
        OneBasinError, match=r"'0.bias' is \(5,\) in params_a but \(8,\) in params_b"
    ):
        point_between({**a, "0.bias": torch.zeros(5)}, b, 0.5)
    with pytest.raises(OneBasinError, match=r"'0.bias' is \(5,\) but \(8,\) in the model"):
        interpolate(model, a, {**b, "0.bias": torch.zeros(5)}, evaluate)
    with pytest.raises(OneBasinError, match="'more' is in params_b but not in params_a"):
        interpolate(model, a, {**b, "more": torch.zeros(5)}, evaluate)


def test_mapping_of_evaluations_must_not_be_empty():
    model = mlp(0)
    params = model.state_dict()
    with pytest.raises(OneBasinError, match="interpolate: evaluate is an empty mapping; pass"):
        interpolate(model, params, params, {})
    with pytest.raises(OneBasinError, match="measure_pairs: evaluate is an empty mapping; pass"):
        measure_pairs(model, [params, params], {})


def test_splits_are_measured_at_the_same_points():
    model, a, b = (mlp(seed, norm=True) for seed in range(3))
    a, b = a.state_dict(), b.state_dict()
    train, test = examples(), examples(20, 1)
    evaluates = {"train": evaluator(*train), "test": evaluator(*test)}
    options = {"num_points": 4, "normalization": "reset", "data": [train[0]]}
    curves = interpolate(model, a, b, evaluates, **options)
    assert list(curves) == ["train", "test"]
    for name, curve in curves.items():
        alone = interpolate(model, a, b, evaluates[name], **options)
        assert curve.losses == pytest.approx(alone.losses, rel=1e-6)
        assert (curve.errors, curve.num_reset) == (alone.errors, 1)


@pytest.mark.parametrize("method", ["repair", "rescale"])
@pytest.mark.parametrize("norm", [False, True])
def test_units_between_endpoints_can_be_repaired(method, norm):
    model, a, b = (mlp(seed, norm=norm) for seed in range(3))
    a, b = a.state_dict(), b.state_dict()
    inputs, labels = examples()
    evaluate = evaluator(inputs, labels)
    curve = interpolate(model, a, b, evaluate, num_points=5, normalization=method, data=[inputs])
    plain = interpolate(model, a, b, evaluate, num_points=5)
    assert (curve.losses[0], curve.losses[4]) == (plain.losses[0], plain.losses[4])
    for i, alpha in ((1, 0.25), (3, 0.75)):
        point = point_between(a, b, alpha)
        result = repair(
            model, point, [a, b], [inputs], method=method, weights=[alpha, 1 - alpha]
        ).params
        other = mlp(0, norm=norm)
        other.load_state_dict(result)
        assert curve.losses[i] == pytest.approx(evaluate(other).loss, rel=1e-6)
        assert curve.losses[i] != plain.losses[i]
    assert (curve.normalization, curve.num_reset) == (method, 1)
    assert {row["normalization"] for row in curve.rows()} == {method}
    assert Curve.from_json(curve.to_json()) == curve


def test_impossible_repair_is_rejected():
    model, params = mlp(0), mlp(1).state_dict()
    with pytest.raises(OneBasinError, match='normalization="repair" estimates statistics from'):
        interpolate(model, params, params, evaluator(*examples()), normalization="repair")
    lone = nn.Linear(4, 3)
    with pytest.raises(OneBasinError, match=r"^interpolate: the model has no hidden layer or norm"):
        interpolate(
            lone,
            lone.state_dict(),
            lone.state_dict(),
            evaluator(*examples()),
            normalization="rescale",
            data=[examples()[0]],
        )
