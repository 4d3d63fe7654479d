"""Randomization for verification: permutations, parameters and statistics.

A uniformly random permutation of two units is the identity half of the time and tests
nothing. The permutations here move every group. For a small group, two of them generate
all permutations.

With initial statistics (mean 0, variance 1), signals vanish from layer to layer in evaluation
mode. Then changes in the first layers do not affect the outputs.

Fresh networks have zero biases, equal norm weights, layer scales of 1e-6 and branches that
start at zero. There, a wrong permutation may change nothing. At generic parameters it does.
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor

from onebasin._random import generator_for
from onebasin.symmetry._verification.precision import OnePrecision
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

SMALL = 16
TINY = 3
MAX_UNIFORM = 6


def random_cyclic_permutation(symmetry: Symmetry, *, seed: int) -> Permutation:
    """Return a permutation in which every row of every group is one random cycle."""
    indices = {}
    for name, order in Permutation.random(symmetry, seed=seed).indices.items():
        indices[name] = torch.empty_like(order).scatter_(-1, order, order.roll(1, -1))
    return Permutation(symmetry, indices)


def random_transpositions(symmetry: Symmetry, *, seed: int) -> Permutation:
    """Return a random permutation that only transposes two units in rows of at most `SMALL` units.

    The two units are neighbors in the cycle of `random_cyclic_permutation` with the same seed, so
    the two permutations generate all permutations of the row. For a larger row, one of the two
    permutations is odd.
    """
    indices = dict(Permutation.random(symmetry, seed=seed).indices)
    for name, cycle in random_cyclic_permutation(symmetry, seed=seed).indices.items():
        size = cycle.shape[-1]
        if 1 < size <= SMALL:
            indices[name] = _exchanges(cycle, generator_for(seed, f"exchange {name}"))
        elif size > SMALL and size % 2:  # the cycle is even
            indices[name] = _odd(indices[name])
    return Permutation(symmetry, indices)


def uniform_draws(symmetry: Symmetry, *, seed: int) -> list[Permutation]:
    """Return random permutations that move some tiny rows and keep the others.

    They detect tiny rows that must be permuted together: the other permutations swap all
    rows of two units at once. The list is empty if at most one row is tiny.
    """
    num_rows = sum(
        prod(symmetry.outer_shape(name))
        for name, group in symmetry.groups.items()
        if 1 < group.size <= TINY
    )
    count = min(MAX_UNIFORM, 2 + num_rows.bit_length()) if num_rows > 1 else 0
    return [Permutation.random(symmetry, seed=seed + i) for i in range(1, 1 + count)]


def _odd(order: Tensor) -> Tensor:
    """Return permutations `(..., n)` with the first two units of each even one swapped."""
    flat = order.reshape(-1, order.shape[-1]).clone()
    for row in flat:
        if not _is_odd(row.tolist()):
            row[:2] = row[:2].flip(0)
    return flat.reshape(order.shape)


def _is_odd(order: list[int]) -> bool:
    num_cycles, seen = 0, [False] * len(order)
    for start in range(len(order)):
        num_cycles += not seen[start]
        while not seen[start]:
            seen[start] = True
            start = order[start]
    return (len(order) - num_cycles) % 2 == 1


def _exchanges(cycle: Tensor, generator: torch.Generator) -> Tensor:
    shape, size = cycle.shape[:-1], cycle.shape[-1]
    first = torch.randint(size, (*shape, 1), generator=generator)
    second = cycle.gather(-1, first)
    index = torch.arange(size).expand(cycle.shape).clone()
    return index.scatter_(-1, first, second).scatter_(-1, second, first)


def restrict_permutation(permutation: Permutation, groups: Collection[str]) -> Permutation:
    """Return a permutation that equals another one on some groups and is the identity elsewhere."""
    identity = Permutation.identity(permutation.symmetry).indices
    indices = {
        name: index if name in groups else identity[name]
        for name, index in permutation.indices.items()
    }
    return Permutation(permutation.symmetry, indices)


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
