"""Perturbed parameters are generic, close to the original, and deterministic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from onebasin._random import generator_for
from onebasin.symmetry._verification.randomize import perturb

DOUBLE = torch.float64


def perturbed(tensor: Tensor, seed: int = 0) -> Tensor:
    return perturb(tensor, generator_for(seed, "x"))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(64, dtype=DOUBLE),
        torch.ones(64, dtype=DOUBLE),
        torch.full((64,), 1e-9, dtype=DOUBLE),
        torch.full((64,), -3.0, dtype=DOUBLE),
        torch.arange(64, dtype=DOUBLE),
        torch.randn(8, 8, dtype=DOUBLE),
        torch.randn(64, dtype=torch.complex128),
    ],
)
def test_entries_become_different_and_of_typical_size(tensor: Tensor) -> None:
    before = tensor.clone()
    result = perturbed(tensor)
    assert result.dtype == tensor.dtype
    assert result.shape == tensor.shape
    parts = torch.view_as_real(result) if result.is_complex() else result
    assert parts.unique().numel() == parts.numel()
    assert 0.01 < float(result.abs().mean()) < 100
    assert torch.equal(tensor, before)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_signs_are_kept(sign: int, scale: float) -> None:
    tensor = sign * scale * torch.rand(200, dtype=DOUBLE)
    tensor[0] = 0.0
    assert bool((perturbed(tensor) * sign > 0).all())


def test_values_stay_close() -> None:
    tensor = torch.randn(1000, dtype=DOUBLE)
    difference = (perturbed(tensor) - tensor).square().mean().sqrt()
    assert float(difference) == pytest.approx(0.2 * float(tensor.square().mean().sqrt()), rel=0.1)


def test_zero_matrices_get_a_typical_size() -> None:
    weight = perturbed(torch.zeros(100, 10000, dtype=DOUBLE))
    x = torch.randn(10000, dtype=DOUBLE)
    assert 0.5 < float((weight @ x).square().mean().sqrt()) < 2


@pytest.mark.parametrize(("scale", "size"), [(1e-4, 2**0.5), (0.05, 2**0.5), (0.5, 5.0)])
def test_tiny_weights_are_scaled_up(scale: float, size: float) -> None:
    weight = scale * torch.randn(300, 100, dtype=DOUBLE)
    result = perturbed(weight)
    assert float(result.square().mean().sqrt()) * 10 == pytest.approx(size, rel=0.05)
    cosine = (result * weight).sum() / result.norm() / weight.norm()
    assert float(cosine) > 0.9


def test_infinities_do_not_change_or_affect_others() -> None:
    least = torch.finfo(DOUBLE).min
    tensor = torch.tensor([0.0, -torch.inf, 1.0, torch.inf, least], dtype=DOUBLE)
    result = perturbed(tensor)
    assert (result == tensor).tolist() == [False, True, False, True, True]
    assert not result.isnan().any()
    assert 0 < float(result[[0, 2]].abs().max()) < 10


def test_integers_are_copied() -> None:
    tensor = torch.arange(4)
    result = perturbed(tensor)
    assert torch.equal(result, tensor)
    assert result.data_ptr() != tensor.data_ptr()


def test_perturbation_depends_on_the_seed() -> None:
    tensor = torch.randn(10, dtype=DOUBLE)
    assert torch.equal(perturbed(tensor), perturbed(tensor))
    assert not torch.equal(perturbed(tensor), perturbed(tensor, seed=1))
