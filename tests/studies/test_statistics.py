from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from scipy import stats

from onebasin_studies.runtime.statistics import (
    bootstrap,
    contrast,
    grouped,
    select,
    slope,
    summarize,
    summary,
    values_of,
)

ROWS = [
    {"width": 8, "state": "naive", "x": 1.0},
    {"width": 4, "state": "naive", "x": 2.0},
    {"width": 4, "state": "naive", "x": 4.0},
    {"width": 4, "state": "aligned", "x": float("nan")},
    {"width": None, "state": "aligned", "x": None},
]


def test_select_and_group_rows():
    assert [row["x"] for row in select(ROWS, width=4, state="naive")] == [2.0, 4.0]
    assert list(grouped(ROWS, "width")) == [(None,), (4,), (8,)]
    assert values_of(ROWS, "x") == [1.0, 2.0, 4.0]


def test_mean_has_students_interval():
    four, eight = summarize(ROWS, "x", ["width"])
    assert (four.group, four.mean, four.n) == ({"width": 4}, 3.0, 2)
    # t(0.975, 1) = 12.7062, deviation sqrt(2), over sqrt(2).
    assert (four.low, four.high) == pytest.approx((3 - 12.7062, 3 + 12.7062), abs=1e-4)
    assert (eight.mean, eight.n) == (1.0, 1)
    assert isnan(eight.low)
    assert (four.to_text(".3g"), eight.to_text(".3g")) == ("3 ± 12.7", "1")
    assert (four.to_text(), eight.to_text()) == ("3 ± 13", "1")


def test_interval_has_two_digits_and_mean_as_many_decimals():
    texts = [
        summary([mean - half, mean + half]).to_text()
        for mean, half in ((0.5, 0.01), (2.0, 0.001), (0.00006, 0.00002), (40.0, 0.5))
    ]
    assert texts == ["0.50 ± 0.13", "2.000 ± 0.013", "0.00006 ± 0.00025", "40.0 ± 6.4"]
    assert summary([0.25, 0.25]).to_text() == "0.25 ± 0"
    assert summary([1e-14, 3e-14]).to_text() == "2.0e-14 ± 1.3e-13"
    assert str(replace(summary([0.1, 0.3]), form=".0%")) == "20% ± 127%"


def test_interval_covers_the_mean_at_its_level():
    generator = np.random.default_rng(0)
    draws = [summary(list(generator.normal(1.0, 2.0, 5))) for _ in range(400)]
    assert 0.92 < np.mean([s.low <= 1.0 <= s.high for s in draws]) < 0.98


def test_slope_has_an_interval():
    x = [0.0, 1.0, 2.0, 3.0]
    exact = slope(x, [1.0, 3.0, 5.0, 7.0])
    assert (exact.slope, exact.intercept, exact.correlation) == pytest.approx((2, 1, 1))
    rough = slope(x, [1.0, 3.5, 4.5, 7.0])
    assert rough.low < rough.slope < rough.high
    # By hand: squared residuals add to 0.45, over 2 degrees of freedom and 5 squares of x.
    assert rough.high - rough.slope == pytest.approx(4.30265 * (0.45 / 2 / 5) ** 0.5, abs=1e-4)


def test_contrast_has_welchs_interval():
    """As `scipy.stats.ttest_ind` without equal variances has it, for two samples."""
    a, b = [1.0, 2.0, 4.0], [5.0, 5.5, 7.0, 6.0]
    found = contrast([a, b], [-1, 1])
    known = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert found.mean == pytest.approx(np.mean(b) - np.mean(a))
    doubled = contrast([a, b], [-2, 2])
    assert (doubled.low, doubled.high) == pytest.approx((2 * found.low, 2 * found.high))
    sure = contrast([[1.0, 1.0], [3.0, 3.0]], [-1, 1])
    assert (sure.low, sure.high) == (2.0, 2.0)


def test_interval_covers_the_contrast_at_its_level():
    generator = np.random.default_rng(0)
    holds = []
    for _ in range(400):
        samples = [list(generator.normal(m, s, n)) for m, s, n in ((0, 1, 4), (1, 3, 6), (2, 2, 5))]
        found = contrast(samples, [-1, 2, -1])
        holds.append(found.low <= 0 <= found.high)
    assert 0.92 < np.mean(holds) < 0.98


def test_bootstrap_is_reproducible():
    values = [1.0, 2.0, 3.0, 4.0]
    low, high = bootstrap(values, lambda v: float(np.mean(v)), seed=1)
    assert 1.0 <= low < 2.5 < high <= 4.0
    assert (low, high) == bootstrap(values, lambda v: float(np.mean(v)), seed=1)
