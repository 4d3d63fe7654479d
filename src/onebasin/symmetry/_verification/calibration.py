"""Calibration of normalization statistics to the activations of a model.

With initial statistics (mean 0, variance 1), signals vanish from layer to layer in evaluation
mode. Then changes in the first layers do not affect the outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from onebasin._random import generator_for
from onebasin.symmetry._verification.perturbation import LOGARITHMIC, unit_noise
from onebasin.symmetry._verification.precision import OnePrecision

STATISTICS = ("running_mean", "running_var")


class CalibrationMode(OnePrecision):
    """Runs a model in one precision and sets the statistics of each batch norm.

    The statistics are those of the layer's input, plus noise that makes them generic.

    Args:
        dtype: float64 or float32.
        seed: random seed for the noise.
    """

    def __init__(self, dtype: torch.dtype, *, seed: int) -> None:
        """Start without calibrated statistics."""
        super().__init__(dtype)
        self.calibrated: set[int] = set()
        self._seed = seed

    def prepare(self, func: Any, given: dict[str, Any]) -> None:
        """Set the statistics of a batch norm before it runs."""
        mean, variance = (given.get(name) for name in STATISTICS)
        if isinstance(mean, Tensor) and isinstance(variance, Tensor):
            _set_statistics(given["input"], mean, variance, self._seed + len(self.calibrated))
            self.calibrated.update((id(mean), id(variance)))


def _set_statistics(x: Tensor, mean: Tensor, variance: Tensor, seed: int) -> None:
    """Set mean and variance `(c,)` to those of the channels of `x` `(n, c, ...)`, with noise."""
    channels = x.transpose(0, 1).flatten(1)
    channel_var, channel_mean = torch.var_mean(channels, dim=1, correction=0)
    typical = channel_var.mean()
    channel_var = channel_var + (typical / 10 if typical > 0 else 1.0)
    shift = LOGARITHMIC * unit_noise(mean, generator_for(seed, "mean")) * channel_var.sqrt()
    factor = (LOGARITHMIC * unit_noise(variance, generator_for(seed, "variance"))).exp()
    mean.copy_(channel_mean + shift)
    variance.copy_(channel_var * factor)
