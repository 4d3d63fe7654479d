"""Perturbation of parameters to generic values near their own.

Fresh networks have zero biases, equal norm weights, layer scales of 1e-6 and branches that
start at zero. There, a wrong permutation may change nothing. At generic parameters it does.
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
"""Larger entries count as infinite, such as the minimum of a dtype in a mask."""


def perturb(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return a tensor with seeded noise in every entry.

    If all entries have one sign (variances, scales), they keep it and the noise multiplies.
    Weights too small to propagate a signal are scaled up; zero weights are replaced.
    Entries above `ENDLESS`, and tensors that are neither floating nor complex, do not change.

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
    """Return random values of a typical size, independent of the tensor's values.

    Vectors with equal entries, such as initial gains, keep sign and size as in `perturb`.

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


def add_rounding_noise(
    tensor: Tensor, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return a tensor with every entry changed randomly by about one unit in the last place.

    Args:
        tensor: float64; other tensors are returned unchanged.
        generator: a CPU generator.
        dtype: the precision that defines the last place.
    """
    if tensor.dtype != torch.float64:
        return tensor
    signs = torch.randint(0, 2, tensor.shape, generator=generator, dtype=torch.int8)
    steps = (signs.to(tensor.device).double() * 2 - 1) * torch.finfo(dtype).eps
    return tensor * (1 + steps)


def _of_usual_size(values: Tensor) -> tuple[Tensor, float]:
    """Return a tensor scaled up if it is too small to propagate a signal, and its RMS."""
    magnitude = float(values.square().mean().sqrt())
    fan_in = max(1, prod(values.shape[1:]))
    least, usual = (1 / sqrt(fan_in), sqrt(2 / fan_in)) if values.dim() > 1 else (NEGLIGIBLE, 0.1)
    if magnitude >= least:
        return values, magnitude
    return (values * (usual / magnitude) if magnitude else torch.zeros_like(values)), usual


def unit_noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return bounded uniform noise of mean 0 and variance 1, in a tensor's shape."""
    uniform = torch.rand(tensor.shape, generator=generator, dtype=torch.float32)
    return uniform.sub_(0.5).mul_(sqrt(12)).to(tensor.device)
