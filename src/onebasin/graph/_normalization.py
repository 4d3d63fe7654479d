"""Normalization: running statistics of the layers of a model, and their names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def layers_with_statistics(model: nn.Module) -> dict[str, _NormBase]:
    """Return the batch (and instance) normalization layers that keep running statistics."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    }


def statistics_of(layers: Mapping[str, _NormBase]) -> dict[str, Tensor]:
    """Return the running statistics of layers, by their names in the model.

    Args:
        layers: result of `layers_with_statistics`.
    """
    return {
        path_of(name, buffer): tensor
        for name, layer in layers.items()
        for buffer, tensor in layer.named_buffers(recurse=False)
    }


SPECTRAL = ("weight_u", "weight.0._u")
"""Endings of the names of vectors of spectral normalization, for both interfaces of PyTorch."""


def keeps_spectral_vectors(model: nn.Module) -> bool:
    """Return whether layers keep the vectors of a power iteration (spectral normalization)."""
    return any(name.endswith(SPECTRAL) for name, _ in model.named_buffers())


def is_variance(name: str) -> bool:
    """Return whether a tensor of a state dict is a running variance, by its name."""
    return name.rpartition(".")[2] == "running_var"


def path_of(module: str, tensor: str) -> str:
    """Return the name of a tensor of a module in the model; the path of the model is ""."""
    return f"{module}.{tensor}" if module else tensor
