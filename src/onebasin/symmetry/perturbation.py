"""Perturbation: generic values for parameters, near their own.

Freshly initialised networks have zero biases, equal norm weights, layer scales of 1e-6 and
branches that start at zero. There a wrong permutation changes nothing; at a generic point
of parameter space it does.
"""

from __future__ import annotations

from math import prod, sqrt

import torch
from torch import Tensor

RELATIVE = 0.2
LOGARITHMIC = 0.3
NEGLIGIBLE = 1e-3


def perturb(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return a tensor with seeded noise in every entry.

    Where all entries have one sign (variances, scales) they keep it: the noise multiplies.
    Where all are negligible they are replaced by values of a usual size. Entries that are
    not finite, and tensors that are neither floating nor complex, are left alone.

    Args:
        tensor: float64 or complex128, on any device.
        generator: a CPU generator.
    """
    if tensor.is_complex():
        return torch.view_as_complex(perturb(torch.view_as_real(tensor), generator))
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.clone()
    finite = tensor.isfinite()
    values = tensor if finite.all() else tensor.masked_fill(~finite, 0.0)
    noise = _unit_noise(tensor, generator)
    magnitude = float(values.square().mean().sqrt())
    sign = float(bool((values >= 0).all())) - float(bool((values <= 0).all()))
    if magnitude < NEGLIGIBLE:
        size = min(0.1, 1 / sqrt(prod(tensor.shape[1:])))
        generic = sign * size * (LOGARITHMIC * noise).exp() if sign else size * noise
        generic = generic.to(tensor.dtype)
    elif sign:
        generic = (values + sign * magnitude / 10) * (LOGARITHMIC * noise).exp()
    else:
        generic = values + RELATIVE * magnitude * noise
    return generic if values is tensor else torch.where(finite, generic, tensor)


def _unit_noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform noise of mean 0 and variance 1: bounded, and cheap for large tensors."""
    uniform = torch.rand(tensor.shape, generator=generator, dtype=torch.float32)
    return uniform.sub_(0.5).mul_(sqrt(12)).to(tensor.device)
