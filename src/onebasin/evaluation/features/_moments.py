"""Means and standard deviations, accumulated over batches."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt

import torch
from torch import Tensor

from onebasin.evaluation.features.table import FeatureRow

Key = tuple[str, float | None, str]


class Moments:
    """Mean and standard deviation of numbers, accumulated in float64.

    Batches are combined by the formula of Chan, Golub and LeVeque (1983), which is accurate for
    large means. NaN values are ignored.
    """

    def __init__(self) -> None:
        """Initialize without numbers."""
        self.num, self.mean, self._squares = 0, nan, 0.0

    def add(self, values: Tensor) -> None:
        """Add the numbers of a batch, of any shape."""
        wide = values.detach().double().flatten()
        wide = wide[~wide.isnan()]
        num = len(wide)
        if not num:
            return
        mean = float(wide.mean())
        squares = float(torch.sub(wide, mean).square().sum())
        if not self.num:
            self.num, self.mean, self._squares = num, mean, squares
            return
        total, step = self.num + num, mean - self.mean
        self._squares += squares + step * step * self.num * num / total
        self.mean += step * num / total
        self.num = total

    @property
    def sd(self) -> float:
        """Population standard deviation of the numbers."""
        return sqrt(self._squares / self.num) if self.num else nan


class Sums:
    """Moments by layer, alpha and measure."""

    def __init__(self) -> None:
        """Initialize without numbers."""
        self._moments: dict[Key, Moments] = {}

    def __bool__(self) -> bool:
        """Return whether any numbers were added."""
        return bool(self._moments)

    def add(self, key: Key, values: Tensor) -> None:
        """Add the numbers of a batch to a layer, alpha and measure."""
        self._moments.setdefault(key, Moments()).add(values)

    def records(self, layers: Sequence[str]) -> tuple[FeatureRow, ...]:
        """Return one row for each layer, alpha and measure, in the order of the layers."""
        place = {name: i for i, name in enumerate(layers)}
        ordered = sorted(self._moments.items(), key=lambda item: place[item[0][0]])
        return tuple(FeatureRow(*key, m.mean, m.sd, m.num) for key, m in ordered)
