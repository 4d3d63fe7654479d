"""Perturbation: generic values for parameters, near their own.

Freshly initialized networks have zero biases, equal norm weights, layer scales of 1e-6 and
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
VECTOR_SIZE = 0.5
ENDLESS = 1e30
"""Larger entries stand for infinity, as the least number of a dtype does in a mask."""


def perturb(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return a tensor with seeded noise in every entry.

    Where all entries have one sign (variances, scales) they keep it: the noise multiplies.
    Weights so small that a signal fades in them are scaled up to the usual size, weights of
    zero replaced. Entries without a finite size (`ENDLESS`), and tensors that are neither
    floating nor complex, are left alone.

    Args:
        tensor: float64 or complex128, on any device.
        generator: a CPU generator.
    """
    if tensor.is_complex():
        return torch.view_as_complex(perturb(torch.view_as_real(tensor), generator))
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return tensor.clone()
    finite = tensor.abs() < ENDLESS
    values = tensor if finite.all() else tensor.masked_fill(~finite, 0.0)
    noise = unit_noise(tensor, generator)
    values, magnitude = _of_usual_size(values)
    sign = float(bool((values >= 0).all())) - float(bool((values <= 0).all()))
    if sign:
        generic = (values + sign * magnitude / 10) * (LOGARITHMIC * noise).exp()
    else:
        relative = RELATIVE if values.any() else 1.0
        generic = values + relative * magnitude * noise
    return generic if finite.all() else torch.where(finite, generic, tensor)


def randomize(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return random values of a usual size, whatever signs and sizes a tensor has.

    Vectors with equal entries, such as fresh gains, keep their sign and size as in `perturb`.

    Args:
        tensor: float64 or complex128, on any device.
        generator: a CPU generator.
    """
    if tensor.is_complex():
        return torch.view_as_complex(randomize(torch.view_as_real(tensor), generator))
    is_flat = tensor.dim() < 2 and bool((tensor == tensor.flatten()[:1]).all())
    if not tensor.is_floating_point() or is_flat or not bool((tensor.abs() < ENDLESS).all()):
        return perturb(tensor, generator)
    size = sqrt(2 / max(1, prod(tensor.shape[1:]))) if tensor.dim() > 1 else VECTOR_SIZE
    return unit_noise(tensor, generator).to(tensor.dtype) * size


def jitter(
    tensor: Tensor, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return a tensor with every entry changed by about one unit in its last place, either way.

    Args:
        tensor: float64; others are returned as they are.
        generator: a CPU generator.
        dtype: the precision whose last place it is.
    """
    if tensor.dtype != torch.float64:
        return tensor
    signs = torch.randint(0, 2, tensor.shape, generator=generator, dtype=torch.int8)
    steps = (signs.to(tensor.device).double() * 2 - 1) * torch.finfo(dtype).eps
    return tensor * (1 + steps)


def _of_usual_size(values: Tensor) -> tuple[Tensor, float]:
    """Return a tensor scaled up where a signal would fade in it, and its root mean square."""
    magnitude = float(values.square().mean().sqrt())
    fan_in = max(1, prod(values.shape[1:]))
    least, usual = (1 / sqrt(fan_in), sqrt(2 / fan_in)) if values.dim() > 1 else (NEGLIGIBLE, 0.1)
    if magnitude >= least:
        return values, magnitude
    return (values * (usual / magnitude) if magnitude else torch.zeros_like(values)), usual


def unit_noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return uniform noise of mean 0 and variance 1, bounded, in a tensor's shape."""
    uniform = torch.rand(tensor.shape, generator=generator, dtype=torch.float32)
    return uniform.sub_(0.5).mul_(sqrt(12)).to(tensor.device)
