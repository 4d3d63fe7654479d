"""Comparison and moments: per-example numbers, and their means without keeping any."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onebasin.evaluation.features._comparison import compare, lerp
from onebasin.evaluation.features._moments import Moments
from tests.evaluation.features.pairs import cosines, distances


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_comparison_matches_the_formulas() -> None:
    x, y = draw(7, 5), draw(7, 5, seed=1)
    result = compare(x, y)
    torch.testing.assert_close(result["1-cos"], cosines(x, y))
    torch.testing.assert_close(result["distance"], distances(x, y))
    torch.testing.assert_close(result["projection"], (x * y).sum(1) / y.square().sum(1))


def test_opposite_and_scaled_features() -> None:
    x = draw(4, 3)
    torch.testing.assert_close(compare(-x, x)["1-cos"], torch.full((4,), 2.0).double())
    scaled = compare(x / 4, x)
    assert scaled["1-cos"].abs().max() < 1e-15
    torch.testing.assert_close(scaled["projection"], torch.full((4,), 0.25).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equal_features_are_exactly_equal(dtype: torch.dtype) -> None:
    x = (draw(9, 64) * 1e3).to(dtype)
    result = compare(x, x.clone())
    assert result["1-cos"].tolist() == result["distance"].tolist() == [0.0] * 9
    assert result["projection"].tolist() == [1.0] * 9
    assert torch.equal(lerp(x, x.clone(), 0.3).to(dtype), x)


def test_small_angles_are_not_lost_in_single_precision() -> None:
    x = draw(3, 100).float()
    y = x + 1e-4 * draw(3, 100, seed=1).float()
    exact = cosines(x.double(), y.double())
    assert 1e-10 < exact.max() < 1e-7
    torch.testing.assert_close(compare(x, y)["1-cos"], exact, rtol=1e-3, atol=0)


def test_zero_features() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    y = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    result = {name: values.tolist() for name, values in compare(x, y).items()}
    assert result["1-cos"] == [0, 1, 1]
    assert result["distance"][0] == 0
    assert result["projection"][:2] == [1, 0]
    assert all(map(math.isnan, [*result["distance"][1:], result["projection"][2]]))


@given(st.lists(st.lists(st.floats(-1e3, 1e3), max_size=5), max_size=6))
def test_moments_do_not_depend_on_batches(parts: list[list[float]]) -> None:
    moments = Moments()
    for part in parts:
        moments.add(torch.tensor([*part, torch.nan]))
    numbers = torch.tensor([number for part in parts for number in part]).double()
    assert moments.num == len(numbers)
    if len(numbers):
        assert moments.mean == pytest.approx(float(numbers.mean()), rel=1e-6, abs=1e-6)
        assert moments.sd == pytest.approx(float(numbers.std(correction=0)), rel=1e-6, abs=1e-6)
    else:
        assert math.isnan(moments.mean)
        assert math.isnan(moments.sd)


def test_large_mean_keeps_the_precision_of_the_std() -> None:
    numbers = 1e8 + draw(1000)
    moments = Moments()
    for part in numbers.split(7):
        moments.add(part)
    assert moments.sd == pytest.approx(float(numbers.std(correction=0)), rel=1e-6)
