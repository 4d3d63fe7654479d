"""Relative differences of two runs."""

from __future__ import annotations

from math import inf

import pytest
import torch

from onebasin.symmetry._verification.trial import max_relative_error

X = torch.tensor([1.0, -2.0, 4.0, 0.0], dtype=torch.float64)


def test_equal_runs_agree() -> None:
    assert max_relative_error([X, torch.arange(3)], [X.clone(), torch.arange(3)]) == 0.0
    assert max_relative_error([], []) == 0.0
    empty = torch.zeros(0, dtype=torch.float64)
    assert max_relative_error([empty], [empty]) == 0.0


def test_entries_are_compared_with_their_size_or_the_median() -> None:
    one, large = X.clone(), X.clone()
    one[3] += 0.5
    large[2] += 0.5
    assert max_relative_error([X], [one]) == pytest.approx(0.5 / 2)
    assert max_relative_error([X], [large]) == pytest.approx(0.5 / 4)


def test_the_largest_difference_counts() -> None:
    assert max_relative_error([X, X], [X, X * 1.01]) == pytest.approx(0.01)
    assert max_relative_error([X, X], [X * 1.01, X]) == pytest.approx(0.01)


@pytest.mark.parametrize("mask", [1e9, 3.4e38, 1.7e308, inf])
def test_masks_do_not_hide_a_difference(mask: float) -> None:
    values = torch.cat([X, torch.full((3,), -mask, dtype=torch.float64)])
    other = values.clone()
    other[0] += 1e-6
    assert max_relative_error([values], [other]) > 1e-7
    assert max_relative_error([values], [values.clone()]) == 0.0


def test_cancellation_does_not_lower_the_median() -> None:
    """Entries that are zero in exact arithmetic contain different rounding in every run."""
    noise = torch.full((9,), 1e-17, dtype=torch.float64)
    assert max_relative_error([torch.cat([X, noise])], [torch.cat([X, -noise])]) < 1e-15


def test_zeros_are_compared_absolutely() -> None:
    zeros = torch.zeros(3, dtype=torch.float64)
    assert max_relative_error([zeros], [zeros + 0.25]) == 0.25


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([X], []),
        ([X], [X[:2]]),
        ([X], [X.float()]),
        ([torch.arange(3)], [torch.tensor([0, 2, 1])]),
        ([torch.tensor([True])], [torch.tensor([False])]),
        ([X], [X * torch.nan]),
        ([X], [X * inf]),
        ([X * inf], [X]),
        ([torch.tensor([inf])], [torch.tensor([-inf])]),
    ],
)
def test_differences_other_than_rounding_are_infinite(one: list, two: list) -> None:
    assert max_relative_error(one, two) == inf


def test_complex_parts_are_compared_one_by_one() -> None:
    z = torch.complex(X, X + 1)
    assert max_relative_error([z], [z]) == 0.0
    assert max_relative_error([z], [z + 0.1j]) > 0.01
