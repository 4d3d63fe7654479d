"""Statistics of rows: means with intervals, slopes and correlations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10, nan
from typing import Any

import numpy as np

Row = Mapping[str, Any]
CONFIDENCE = 0.95
MOST_DIGITS = 6
"""Maximum number of decimals; smaller numbers use scientific notation."""


@dataclass(frozen=True)
class Summary:
    """The mean of some values with its 95 % confidence interval.

    Args:
        group: common column values.
        mean: mean of the values.
        low: lower end of the interval (Student's t); NaN for one value.
        high: upper end of the interval.
        deviation: standard deviation of the values; NaN for one value and for contrasts.
        n: number of values.
        form: default number format.
    """

    group: Mapping[str, Any]
    mean: float
    low: float
    high: float
    deviation: float
    n: int
    form: str | None = None

    @property
    def reach(self) -> float:
        """Half the width of the interval; NaN for one value."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return self.to_text(self.form)

    def to_text(self, form: str | None = None) -> str:
        """Return "mean ± half the interval".

        Args:
            form: number format; by default the interval has two significant digits and the mean as
                many decimals. Beyond six decimals both use scientific notation.

        Example:
            >>> Summary({}, 0.75823, 0.65923, 0.85723, 0.0, 3).to_text()
            '0.758 ± 0.099'
        """
        if not isfinite(self.reach):
            return format(self.mean, form or ".3g")
        if form is None and self.digits > MOST_DIGITS:
            form = ".1e"
        form = form or (f".{self.digits}f" if self.reach > 0 else ".3g")
        return f"{self.mean:{form}} ± {self.reach:{form}}"

    @property
    def digits(self) -> int:
        """Number of decimals that show two significant digits of the interval; 0 without an
        interval.
        """
        return max(0, 1 - floor(log10(self.reach))) if self.reach > 0 else 0


def select(rows: Sequence[Row], **wanted: Any) -> list[Row]:
    """Return the rows with these column values.

    Example:
        >>> select([{"width": 4, "x": 1}, {"width": 8, "x": 2}], width=8)
        [{'width': 8, 'x': 2}]
    """
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def values_of(rows: Sequence[Row], column: str) -> list[float]:
    """Return the finite numbers of a column."""
    values = (row.get(column) for row in rows)
    return [float(value) for value in values if value is not None and isfinite(value)]


def grouped(rows: Sequence[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows grouped by their values in columns, in sorted order."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(column) for column in columns), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: [_sortable(value) for value in item[0]]))


def summarize(rows: Sequence[Row], value: str, by: Sequence[str] = ()) -> list[Summary]:
    """Return the summary of each group of rows with a finite value.

    Args:
        rows: rows of a study.
        value: the column to average.
        by: the columns to group by.

    Example:
        >>> [s.mean for s in summarize([{"w": 1, "x": 2}, {"w": 1, "x": 4}], "x", ["w"])]
        [3.0]
    """
    values = {key: values_of(group, value) for key, group in grouped(rows, *by).items()}
    return [
        summary(finite, dict(zip(by, key, strict=True))) for key, finite in values.items() if finite
    ]


def summary(values: Sequence[float | int], group: Mapping[str, Any] | None = None) -> Summary:
    """Return the mean of values and its 95 % confidence interval.

    Args:
        values: at least one value.
        group: common column values.
    """
    from scipy import stats

    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Summary(group or {}, mean, nan, nan, nan, n)
    deviation = float(np.std(values, ddof=1))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / n**0.5
    return Summary(group or {}, mean, mean - reach, mean + reach, deviation, n)


def contrast(samples: Sequence[Sequence[float | int]], weights: Sequence[float | int]) -> Summary:
    r"""Return a weighted sum of the means of independent samples.

    \(\sum_i w_i \bar x_i\), whose variance is \(\sum_i w_i^2 s_i^2 / n_i\); the interval is
    Student's t with the degrees of freedom of Welch and Satterthwaite.

    Args:
        samples: samples of at least two values each.
        weights: weights of their means.

    Example:
        >>> difference = contrast([[1, 2, 3], [5, 6, 7]], [-1, 1])
        >>> difference.mean, round(difference.low, 2), round(difference.high, 2)
        (4.0, 1.73, 6.27)
    """
    from scipy import stats

    assert len(samples) == len(weights) and min(map(len, samples)) > 1
    means = [float(np.mean(values)) for values in samples]
    mean = sum(w * m for w, m in zip(weights, means, strict=True))
    parts = [
        w * w * float(np.var(values, ddof=1)) / len(values)
        for w, values in zip(weights, samples, strict=True)
    ]
    below = sum(p * p / (len(values) - 1) for p, values in zip(parts, samples, strict=True))
    freedom = sum(parts) ** 2 / below if below else 1.0
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * sum(parts) ** 0.5
    return Summary({}, mean, mean - reach, mean + reach, nan, sum(map(len, samples)))


@dataclass(frozen=True)
class Slope:
    """A least-squares line.

    Args:
        slope: slope of the line.
        low: lower end of the 95 % confidence interval of the slope.
        high: upper end of the interval.
        intercept: value of the line at 0.
        correlation: Pearson correlation of the points.
        n: number of points.
    """

    slope: float
    low: float
    high: float
    intercept: float
    correlation: float
    n: int


def slope(x: Sequence[float | int], y: Sequence[float | int]) -> Slope:
    """Fit a line to points; for a power law pass logarithms.

    Args:
        x: at least three different numbers.
        y: as many numbers.
    """
    from scipy import stats

    assert len(x) == len(y) >= 3
    fit: Any = stats.linregress(x, y)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 2)) * float(fit.stderr)
    center = float(fit.slope)
    return Slope(
        center, center - reach, center + reach, float(fit.intercept), float(fit.rvalue), len(x)
    )


def bootstrap(
    values: Sequence[Any],
    statistic: Callable[[Sequence[Any]], float],
    *,
    num_samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bootstrap 95 % confidence interval of a statistic.

    Args:
        values: independent observations.
        statistic: a function of a sequence of observations.
        num_samples: number of bootstrap samples.
        seed: random seed.
    """
    from scipy import stats

    result = stats.bootstrap(
        (np.arange(len(values)),),
        lambda picks: statistic([values[i] for i in picks]),
        n_resamples=num_samples,
        vectorized=False,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _sortable(value: Any) -> tuple[int, Any]:
    """Return a key that sorts None first, numbers next, texts last."""
    if value is None:
        return 0, 0
    return (1, value) if isinstance(value, int | float) else (2, str(value))
