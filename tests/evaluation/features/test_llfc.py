"""LLFC: exact where it must hold, and equal to the formulas where it does not."""

from __future__ import annotations

from math import nan

import pytest
import torch
from torch import nn

from onebasin import Permutation, infer_symmetry
from onebasin.errors import OneBasinError
from onebasin.evaluation._repair import repair
from onebasin.evaluation.features import measure_additivity, measure_llfc
from onebasin.evaluation.features._probe import checked_alphas
from onebasin.evaluation.statistics import reset_statistics
from onebasin.matching import match_weights
from tests.evaluation.features.pairs import between, cosines, distances, mlp_features, pair
from tests.graph.networks import NETWORKS


def test_numbers_match_the_formulas() -> None:
    model, a, b, inputs = pair("mlp")
    result = measure_llfc(model, a, b, [inputs[:4], inputs[4:]], alphas=(0.25, 0.5))
    of_a, of_b = mlp_features(a, inputs), mlp_features(b, inputs)
    assert result.layers == tuple(of_a)
    assert result.alphas == (0.25, 0.5)
    for alpha in result.alphas:
        for layer, x in mlp_features(between(a, b, alpha), inputs).items():
            y = alpha * of_a[layer] + (1 - alpha) * of_b[layer]
            projection = (x * y).sum(1) / y.square().sum(1)
            for measure, expected in (
                ("1-cos", cosines(x, y)),
                ("distance", distances(x, y)),
                ("projection", projection),
            ):
                record = result.at(layer, measure, alpha)
                assert record.mean == pytest.approx(float(expected.mean()), abs=1e-12)
                assert record.sd == pytest.approx(float(expected.std(correction=0)), abs=1e-9)
                assert record.n == 6
            c = result.at(layer, "c", alpha)
            assert c.mean == pytest.approx(1 / float(projection.mean()), rel=1e-9)
    for layer in of_a:
        expected = float(cosines(of_a[layer], of_b[layer]).mean())
        assert result.at(layer, "1-cos ends").mean == pytest.approx(expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_exactly_connected_to_itself(name: str) -> None:
    model, a, _, inputs = pair(name)
    result = measure_llfc(model, a, dict(a), [inputs])
    for record in result.records:
        expected = 1.0 if record.measure in ("projection", "c") else 0.0
        assert (record.mean, record.sd, record.n) == (expected, 0.0, len(inputs)), record


def test_network_linear_in_its_parameters_is_exactly_connected() -> None:
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()).double()
    other = {name: torch.randn_like(tensor) for name, tensor in linear.state_dict().items()}
    result = measure_llfc(linear, linear.state_dict(), other, [torch.randn(4, 2, 5, 5).double()])
    assert result.at("0.conv2d", "1-cos ends").mean > 0.1
    for alpha in result.alphas:
        assert result.at("0.conv2d", "distance", alpha).mean < 1e-30
        assert result.at("0.conv2d", "c", alpha).mean == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_permuted_copy_is_connected_after_matching(name: str) -> None:
    model, a, _, inputs = pair(name)
    symmetry = infer_symmetry(model, (inputs,))
    twin = Permutation.random(symmetry, seed=3).apply(a)
    before = measure_llfc(model, a, twin, [inputs], alphas=[0.5])
    assert max(before.means("1-cos", 0.5).values()) > 0.01
    aligned = match_weights(symmetry, a, twin, seed=0, restarts=5).permutation.apply(twin)
    after = measure_llfc(model, a, aligned, [inputs], alphas=[0.5])
    assert max(after.means("1-cos", 0.5).values()) < 1e-20
    assert max(after.means("1-cos ends").values()) < 1e-20
    for layer in after.layers:
        assert after.at(layer, "c", 0.5).mean == pytest.approx(1, abs=1e-12)


def test_single_example_counts_once() -> None:
    model, a, b, inputs = pair("mlp")
    whole = measure_llfc(model, a, b, [inputs])
    parts = measure_llfc(model, a, b, [inputs[:1], inputs[1:3], inputs[3:]])
    for one, other in zip(whole.records, parts.records, strict=True):
        assert (one.layer, one.measure, one.alpha, one.n) == (
            other.layer,
            other.measure,
            other.alpha,
            other.n,
        )
        assert other.mean == pytest.approx(one.mean, abs=1e-12)
        assert other.sd == pytest.approx(one.sd, abs=1e-9)


def test_statistics_can_be_reset_on_the_path() -> None:
    model, a, b, inputs = pair("conv_net")
    data = [(inputs, torch.zeros(len(inputs)))]
    result = measure_llfc(
        model, a, b, data, alphas=[0.5], normalization="reset", statistics=data, layers=["7.*"]
    )
    assert result.normalization == "reset"
    point = reset_statistics(model, between(a, b, 0.5), data)
    with torch.no_grad():
        x, y_a, y_b = (torch.func.functional_call(model, p, (inputs,)) for p in (point, a, b))
    expected = float(cosines(x, (y_a + y_b) / 2).mean())
    assert result.at("7.linear", "1-cos", 0.5).mean == pytest.approx(expected, rel=1e-6)
    plain = measure_llfc(model, a, b, data, alphas=[0.5], layers=["7.*"])
    assert plain.at("7.linear", "1-cos", 0.5).mean != pytest.approx(expected, rel=1e-3)


def test_units_can_be_repaired_on_the_path() -> None:
    model, a, b, inputs = pair("mlp")
    result = measure_llfc(
        model, a, b, [inputs], alphas=[0.25], normalization="repair", statistics=[inputs]
    )
    point = repair(model, between(a, b, 0.25), [a, b], [inputs], weights=[0.25, 0.75]).params
    of_a, of_b, of_point = (mlp_features(params, inputs) for params in (a, b, point))
    for layer, x in of_point.items():
        expected = float(cosines(x, 0.25 * of_a[layer] + 0.75 * of_b[layer]).mean())
        assert result.at(layer, "1-cos", 0.25).mean == pytest.approx(expected, abs=1e-9)


def test_inputs_are_not_changed_and_results_are_reproducible() -> None:
    model, a, b, inputs = pair("conv_net")
    model.train()
    kept = [t.clone() for t in (*a.values(), *b.values(), inputs)]
    reported: list[int] = []
    first = measure_llfc(model, a, b, [inputs, inputs], progress=reported.append)
    assert first == measure_llfc(model, a, b, [inputs, inputs])
    assert reported == [1, 2]
    assert model.training
    assert all(map(torch.equal, kept, (*a.values(), *b.values(), inputs)))


def test_bad_input_gives_a_one_line_error() -> None:
    model, a, b, inputs = pair("mlp")
    cases = {
        r"^measure_llfc: alpha is 1\.0; it must be between 0 and 1$": dict(alphas=[0.5, 1.0]),
        r'^measure_llfc: normalization="reset" estimates .* from data; pass statistics=': dict(
            normalization="reset"
        ),
        r"^measure_llfc: no layer matches '9\.\*'; the layers are 0\.linear": dict(layers=["9.*"]),
    }
    for message, options in cases.items():
        with pytest.raises(OneBasinError, match=message):
            measure_llfc(model, a, b, [inputs], **options)  # type: ignore[arg-type]
    with pytest.raises(OneBasinError, match=r"'0\.bias' is in params_a but not in params_b"):
        measure_llfc(model, a, {k: v for k, v in b.items() if k != "0.bias"}, [inputs])
    with pytest.raises(
        OneBasinError, match=r"^measure_llfc: the features of B at '0\.linear' are not fin"
    ):
        measure_llfc(model, a, {**b, "0.bias": b["0.bias"] * torch.inf}, [inputs])
    huge = {name: tensor.sign() * 1e308 for name, tensor in b.items()}
    with pytest.raises(OneBasinError, match="are not finite"):
        measure_llfc(model, a, huge, [inputs])


def test_single_alpha_is_rejected() -> None:
    with pytest.raises(OneBasinError, match=r"^alphas is 0\.5; pass a list, such as"):
        checked_alphas(0.5)
    for wrong in ("0.5", [None], [True], [nan]):
        with pytest.raises(OneBasinError, match=r"^alpha is .*; it must be between 0 and 1$"):
            checked_alphas(wrong)


def test_alphas_of_any_type_are_deduplicated() -> None:
    for given in (iter([0.25, 0.5]), torch.tensor([0.25, 0.5, 0.25])):
        assert checked_alphas(given) == (0.25, 0.5)
    model, a, b, inputs = pair("mlp")
    for measure in (measure_llfc, measure_additivity):
        wanted = measure(model, a, b, [inputs], alphas=[0.5, 0.25])
        assert measure(model, a, b, [inputs], alphas=[0.5, 0.25, 0.5]) == wanted
