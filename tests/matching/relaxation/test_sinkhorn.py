"""Sinkhorn's operator: doubly stochastic, and two derivatives that agree."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from onebasin.matching._relaxation.sinkhorn import sinkhorn


def drawn(*shape: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64) * scale


@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (2, 3, 4, 4)])
def test_rows_and_columns_sum_to_one(gradient, shape):
    matrices = sinkhorn(drawn(*shape), gradient=gradient, num_rounds=200)
    ones = torch.ones(shape[:-1], dtype=torch.float64)
    torch.testing.assert_close(matrices.sum(-1), ones)
    torch.testing.assert_close(matrices.sum(-2), ones)


def test_only_rows_and_columns_are_scaled():
    logits = drawn(6, 6)
    ratio = sinkhorn(logits, gradient="unrolled", num_rounds=200).log() - logits
    centered = ratio - ratio.mean(0) - ratio.mean(1, keepdim=True) + ratio.mean()
    torch.testing.assert_close(centered, torch.zeros_like(centered))


@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
def test_derivatives_match_finite_differences(gradient):
    logits = drawn(2, 3, 3).requires_grad_()
    function = partial(sinkhorn, gradient=gradient, num_rounds=100)
    assert torch.autograd.gradcheck(function, (logits,), atol=1e-6)


def test_derivatives_of_a_sharp_matrix_agree():
    logits, weights = drawn(8, 8, scale=4.0).requires_grad_(), drawn(8, 8)
    result = []
    for gradient in ("implicit", "unrolled"):
        matrices = sinkhorn(logits, gradient=gradient, num_rounds=3000)
        result.append(torch.autograd.grad((matrices * weights).sum(), logits)[0])
    torch.testing.assert_close(result[0], result[1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
def test_derivatives_at_a_permutation_are_finite(gradient):
    logits = (1000 * torch.eye(5)[[2, 0, 1, 4, 3]]).requires_grad_()
    matrices = sinkhorn(logits, gradient=gradient, num_rounds=20)
    matrices.square().sum().backward()
    assert torch.equal(matrices.detach().round(), torch.eye(5)[[2, 0, 1, 4, 3]])
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
