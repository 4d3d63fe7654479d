"""Calibration: normalization statistics that fit what flows through a model.

With the statistics of a fresh model (mean 0, variance 1) a signal fades from layer to layer
in evaluation mode, until nothing that is done to the first layers is seen in the outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from onebasin._random import generator_for
from onebasin.symmetry._verification.perturbation import LOGARITHMIC, unit_noise
from onebasin.symmetry._verification.precision import OnePrecision

STATISTICS = ("running_mean", "running_var")


class Calibrating(OnePrecision):
    """Runs a model in one precision and writes each batch norm's statistics as it goes.

    They are what the layer's input has, with noise so that they are generic.

    Args:
        dtype: float64 or float32.
        seed: of the noise.
    """

    def __init__(self, dtype: torch.dtype, *, seed: int) -> None:
        """Nothing is calibrated yet."""
        super().__init__(dtype)
        self.calibrated: set[int] = set()
        self._seed = seed

    def prepare(self, func: Any, given: dict[str, Any]) -> None:
        """Write the statistics of a batch norm that is about to run."""
        mean, variance = (given.get(name) for name in STATISTICS)
        if isinstance(mean, Tensor) and isinstance(variance, Tensor):
            _measure(given["input"], mean, variance, self._seed + len(self.calibrated))
            self.calibrated.update((id(mean), id(variance)))


def _measure(x: Tensor, mean: Tensor, variance: Tensor, seed: int) -> None:
    """Write mean and variance per channel `(c,)` of `x` `(n, c, ...)`, both with noise."""
    channels = x.transpose(0, 1).flatten(1)
    spread, center = torch.var_mean(channels, dim=1, correction=0)
    typical = spread.mean()
    spread = spread + (typical / 10 if typical > 0 else 1.0)
    shift = LOGARITHMIC * unit_noise(mean, generator_for(seed, "mean")) * spread.sqrt()
    factor = (LOGARITHMIC * unit_noise(variance, generator_for(seed, "variance"))).exp()
    mean.copy_(center + shift)
    variance.copy_(spread * factor)
