"""Normal equations of a refit are those of all rows."""

from __future__ import annotations

import pytest
import torch

from onebasin.evaluation._refit import equations


def test_sums_of_two_parts_are_those_of_all_rows() -> None:
    rows, wanted = 3000 + torch.randn(1, 60, 4), torch.randn(1, 60, 2)
    parts = [equations.NormalEquations(has_bias=True) for _ in range(3)]
    parts[0].add(rows, wanted, 1.0)
    parts[1].add(rows[:, :20], wanted[:, :20], 1.0)
    parts[2].add(rows[:, 20:], wanted[:, 20:], 1.0)
    anchor = torch.randn(1, 5, 2).double()
    expected, found = parts[0], parts[1] + parts[2]
    torch.testing.assert_close(
        found.solve(anchor, 0.1), expected.solve(anchor, 0.1), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(found.error(anchor), expected.error(anchor))
    mean, variance = found.moments(torch.eye(4).double()[None])
    torch.testing.assert_close(mean[0], rows[0].double().mean(0))
    torch.testing.assert_close(variance[0], rows[0].double().var(0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("width", [5, 256, 300])
def test_gram_matrix_is_that_of_all_rows(width: int) -> None:
    rows = torch.randn(2, 40, width)
    normal = equations.NormalEquations(has_bias=False)
    normal.add(rows, rows[..., :3], 0.5)
    torch.testing.assert_close(normal.gram, 0.5 * (rows.mT @ rows).double(), rtol=1e-5, atol=1e-5)
