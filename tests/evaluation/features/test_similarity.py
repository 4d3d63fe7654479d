"""Similarity: CKA against its definition by kernels, correlations against torch's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from onebasin import Permutation, infer_symmetry
from onebasin.evaluation.features import measure_similarity
from onebasin.evaluation.features.similarity import BatchCKA, Correlation, WholeCKA, unbiased_hsic
from tests.evaluation.features.pairs import mlp_features, pair


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hsic_by_hand(x: Tensor, y: Tensor) -> float:
    """The estimate without bias as a sum over quadruples of different examples."""
    k, l, num = x @ x.T, y @ y.T, len(x)  # noqa: E741
    total, count = 0.0, 0
    for i in range(num):
        for j in range(num):
            for q in range(num):
                for r in range(num):
                    if len({i, j, q, r}) == 4:
                        total += float(k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]))
                        count += 1
    return total / count


def test_unbiased_hsic_is_the_mean_over_quadruples() -> None:
    x, y = draw(6, 3), draw(6, 2, seed=1)
    kernels = [(each @ each.T).fill_diagonal_(0) for each in (x, y)]
    assert float(unbiased_hsic(*kernels)) == pytest.approx(hsic_by_hand(x, y))


@pytest.mark.parametrize("sizes", [(9,), (4, 5), (1, 3, 5)])
def test_cka_over_all_examples_does_not_depend_on_batches(sizes: tuple[int, ...]) -> None:
    x, y = draw(9, 5) + 10, draw(9, 4, seed=1) * 3 - 7
    expected = {
        "unbiased": hsic_by_hand(x, y) / math.sqrt(hsic_by_hand(x, x) * hsic_by_hand(y, y)),
        "biased": biased_by_hand(x, y),
    }
    for hsic, value in expected.items():
        cka = WholeCKA(hsic)  # type: ignore[arg-type]
        for part in zip(x.split(list(sizes)), y.split(list(sizes)), strict=True):
            cka.add(*part)
        assert cka.num == 9
        assert cka.value() == pytest.approx(value, rel=1e-9)
    assert expected["biased"] > abs(expected["unbiased"])


def biased_by_hand(x: Tensor, y: Tensor) -> float:
    centring = torch.eye(len(x)).double() - 1 / len(x)
    k, l = (centring @ each @ each.T @ centring for each in (x, y))  # noqa: E741
    return float((k * l).sum() / (k.norm() * l.norm()))


def test_batch_cka_uses_the_mean_hsic() -> None:
    x, y = draw(12, 5), draw(12, 5, seed=1) + draw(12, 5)
    cka = BatchCKA()
    parts = list(zip(x.split(6), y.split(6), strict=True))
    for part in [*parts, (x[:3], y[:3])]:
        cka.add(*part)
    xy, xx, yy = (sum(hsic_by_hand(p[i], p[j]) for p in parts) for i, j in ((0, 1), (0, 0), (1, 1)))
    assert cka.value() == pytest.approx(xy / math.sqrt(xx * yy))
    assert cka.num == 12


def test_cka_is_invariant_to_order_rotation_and_scale() -> None:
    x = draw(20, 6)
    rotation = torch.linalg.qr(draw(6, 6, seed=1))[0]
    for cka in (WholeCKA("biased"), WholeCKA("unbiased"), BatchCKA()):
        cka.add(x, 3 * x @ rotation + 1)
        assert cka.value() == pytest.approx(1)


def test_undefined_values_are_nan() -> None:
    for cka in (WholeCKA("biased"), WholeCKA("unbiased"), BatchCKA()):
        assert math.isnan(cka.value())
        cka.add(torch.zeros(5, 3), draw(5, 3).float())
        assert math.isnan(cka.value())
    few = WholeCKA("unbiased")
    few.add(draw(3, 2), draw(3, 2))
    assert math.isnan(few.value())


def test_correlations_match_torch() -> None:
    x, y = draw(30, 4) + 100, draw(30, 4, seed=1)
    y[:, 1] = -x[:, 1]
    y[:, 3] = 5
    correlation = Correlation()
    for part in zip(x.split(7), y.split(7), strict=True):
        correlation.add(*part)
    expected = [float(torch.corrcoef(torch.stack([x[:, i], y[:, i]]))[0, 1]) for i in range(3)]
    assert correlation.values().tolist() == pytest.approx(expected, rel=1e-9)
    assert correlation.values()[1] == pytest.approx(-1)


def test_units_of_a_network_are_compared() -> None:
    model, a, b, inputs = pair("mlp")
    result = measure_similarity(model, a, b, [inputs[:4], inputs[4:]], hsic="biased")
    of_a, of_b = mlp_features(a, inputs), mlp_features(b, inputs)
    for layer in result.layers:
        x, y = of_a[layer], of_b[layer]
        assert result.at(layer, "cka").mean == pytest.approx(biased_by_hand(x, y), rel=1e-9)
        assert result.at(layer, "cka").n == 6
        columns = [torch.stack([x[:, i], y[:, i]]) for i in range(x.shape[1])]
        alive = [c for c in columns if (c.std(1) > 1e-9).all()]
        expected = torch.stack([torch.corrcoef(c)[0, 1] for c in alive])
        record = result.at(layer, "correlation")
        assert record.mean == pytest.approx(float(expected.mean()), abs=1e-9)
        assert record.sd == pytest.approx(float(expected.std(correction=0)), abs=1e-9)
        assert record.n == len(alive)


@pytest.mark.parametrize("name", ["conv_net", "transformer"])
def test_permuted_copy_has_cka_one_but_low_correlation(name: str) -> None:
    model, a, _, inputs = pair(name)
    permutation = Permutation.random(infer_symmetry(model, (inputs,)), seed=3)
    data = [torch.cat([inputs, inputs.flip(1)])]
    result = measure_similarity(model, a, permutation.apply(a), data, max_features=100)
    assert {r.measure for r in result.records} == {"cka", "cka in batches", "correlation"}
    for record in result.records:
        if record.measure != "correlation":
            assert record.mean == pytest.approx(1), record
    assert min(result.means("correlation").values()) < 0.5
    same = measure_similarity(model, a, dict(a), data)
    for record in same.records:
        assert record.mean == pytest.approx(1, rel=1e-9), record


def test_channels_are_units_and_positions_are_samples() -> None:
    model, a, b, inputs = pair("conv_net")
    result = measure_similarity(model, a, b, [inputs])
    numbers = {layer: result.at(layer, "correlation").n for layer in result.layers}
    assert numbers["0.conv2d"] == 6
    assert numbers["5.linear"] == 10
    assert numbers["7.linear"] == 4, "outputs have no group: every entry counts"
