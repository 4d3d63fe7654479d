"""Execution in one precision: casts of the model are ignored, and writes are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from onebasin.symmetry._verification.precision import OnePrecision, grouped_product

DOUBLE = torch.float64
X = torch.linspace(-1, 1, 12, dtype=DOUBLE).reshape(3, 4).sin()

CASES = {
    "float": lambda x: x.float().exp(),
    "half": lambda x: x.half() * 3,
    "to": lambda x: x.to(torch.bfloat16).cos(),
    "type": lambda x: x.type(torch.FloatTensor) + 1,
    "type_as": lambda x: x.type_as(torch.ones(1)) + 1,
    "softmax": lambda x: functional.softmax(x, -1, dtype=torch.float32),
    "log_softmax": lambda x: functional.log_softmax(x.float(), -1, dtype=torch.float32),
    "sum": lambda x: x.sum(-1, dtype=torch.float32),
    "mean": lambda x: x.mean(dtype=torch.float32),
    "cumsum": lambda x: x.cumsum(0, dtype=torch.float32),
    "zeros": lambda x: torch.zeros(3, 4, dtype=torch.float32) + x,
    "empty and fill": lambda x: torch.empty(3, 4, dtype=torch.float32).copy_(x),
    "write into a slice": lambda x: torch.zeros(5, 4).index_copy_(0, torch.arange(3), x),
    "new_zeros": lambda x: x.new_zeros(2, dtype=torch.float16) + x[0, 0],
    "full_like": lambda x: torch.full_like(x, 2.0, dtype=torch.float32) * x,
    "out": lambda x: torch.add(x, 1, out=torch.empty(3, 4, dtype=DOUBLE)),
    "complex": lambda x: torch.view_as_real(torch.fft.rfft(x).to(torch.complex64)),
    "einsum with a table": lambda x: torch.einsum("ij,jk->ik", x, torch.arange(8.0).view(4, 2)),
    "product with a quotient": lambda x: x @ (torch.arange(4) / 3)[:, None],
    "product with numpy": lambda x: x @ torch.from_numpy(np.ones((4, 2), dtype=np.float32)),
    "list in": lambda x: torch.cat([x.float(), x.half()]),
    "tuple out": lambda x: torch.stack(x.float().unbind(1)),
    "structure out": lambda x: x.float().max(dim=0).values,
    "attention": lambda x: functional.scaled_dot_product_attention(
        x[None].float(), x[None].float(), x[None].float()
    ),
}

EXACT = {
    "log_softmax": lambda x: functional.log_softmax(x, -1),
    "softmax": lambda x: functional.softmax(x, -1),
    "type_as": lambda x: x + 1,
    "complex": lambda x: torch.view_as_real(torch.fft.rfft(x)),
    "product with a quotient": lambda x: x @ (torch.arange(4) / 3).double()[:, None],
}


@pytest.mark.parametrize("case", CASES)
def test_results_are_double(case: str) -> None:
    with torch.no_grad(), OnePrecision(DOUBLE):
        result = CASES[case](X)
    assert result.dtype == DOUBLE
    exact = EXACT.get(case)
    if exact is not None:
        assert torch.allclose(result, exact(X), rtol=1e-14, atol=1e-15)


def test_float64_results_are_exact() -> None:
    with OnePrecision(DOUBLE):
        assert torch.equal(X.float(), X)
        assert torch.equal(X.to(torch.bfloat16).to(torch.float32), X)
    assert not torch.equal(X.float().double(), X)


def test_softmax_of_half_with_float32_result() -> None:
    """On a GPU, a half-precision softmax with a float32 result is a single operator."""
    with OnePrecision(DOUBLE):
        result = torch.ops.aten._softmax(X.half(), -1, True)
    assert torch.equal(result, X.softmax(-1))


def test_autocast_does_not_lower_the_precision() -> None:
    with OnePrecision(DOUBLE), torch.autocast("cpu", torch.bfloat16):
        result = X @ X.t()
    assert torch.equal(result, X @ X.t())


def test_single_precision() -> None:
    with OnePrecision(torch.float32):
        assert (X + 1).dtype == X.float().double().dtype == torch.float32
        assert torch.ones(2, dtype=torch.bfloat16).dtype == torch.float32


def test_literals_beyond_the_range_of_float32() -> None:
    least = torch.finfo(DOUBLE).min
    with OnePrecision(DOUBLE):
        literals = [
            torch.tensor(least),
            torch.tensor([1.0, least]),
            torch.tensor(least, dtype=torch.float32),
            torch.full((2,), least),
            torch.full((2,), least, dtype=torch.bfloat16),
            torch.scalar_tensor(least),
            torch.as_tensor([least]),
        ]
    assert all(tensor.dtype == DOUBLE and float(tensor.min()) == least for tensor in literals)
    with OnePrecision(DOUBLE):
        assert torch.tensor(2.7, dtype=torch.int64).dtype == torch.int64
        assert torch.tensor(3).dtype == torch.int64
    assert torch.tensor(0.5).dtype == torch.float32


def test_integers_and_masks_are_not_converted() -> None:
    with OnePrecision(DOUBLE):
        assert torch.arange(3).dtype == torch.int64
        assert (X > 0).dtype == torch.bool
        assert X.to(torch.int32).dtype == torch.int32
        assert X.argmax().dtype == torch.int64


def test_writes_into_a_low_precision_tensor_are_kept() -> None:
    scratch = torch.zeros(3, 4)
    with OnePrecision(DOUBLE):
        scratch.copy_(X)
        scratch.add_(1)
        torch.mul(scratch, 2, out=scratch)
    assert torch.allclose(scratch, (X.float() + 1) * 2)


def test_convert_reaches_into_structures() -> None:
    result = OnePrecision(DOUBLE).convert({"x": (torch.ones(1), torch.arange(2)), "y": None})
    assert result["x"][0].dtype == DOUBLE
    assert result["x"][1].dtype == torch.int64
    complex_numbers = OnePrecision(DOUBLE).convert(torch.ones(1, dtype=torch.complex64))
    assert complex_numbers.dtype == torch.complex128


def pieces(*sizes: int) -> Tensor:
    return torch.tensor(sizes, dtype=torch.int32).cumsum(0, dtype=torch.int32)


GROUPED = {
    "rows": ((8, 16), (2, 16, 24), pieces(3, 5)),
    "columns": ((2, 8, 16), (16, 24), pieces(8, 16)),
    "inner": ((8, 16), (16, 24), pieces(8, 8)),
    "batch": ((2, 8, 16), (2, 16, 24), None),
}


@pytest.mark.parametrize("case", GROUPED)
def test_grouped_products_agree_with_the_operator(case: str) -> None:
    shape_a, shape_b, offs = GROUPED[case]
    a, b = torch.randn(shape_a).bfloat16(), torch.randn(shape_b).bfloat16()
    expected = torch._grouped_mm(a, b, offs)
    result = grouped_product(a.double(), b.double(), offs)
    assert result.shape == expected.shape
    assert torch.allclose(result, expected.double(), rtol=1e-2, atol=0.1)


def test_grouped_products_run_in_double() -> None:
    a, b = torch.randn(5, 4, dtype=DOUBLE), torch.randn(2, 4, 3, dtype=DOUBLE)
    with OnePrecision(DOUBLE):
        result = torch._grouped_mm(a.bfloat16(), b.bfloat16(), pieces(2, 3))
    expected = torch.cat([a[:2] @ b[0], a[2:] @ b[1]])
    assert math.isclose(float((result - expected).abs().max()), 0, abs_tol=1e-14)
