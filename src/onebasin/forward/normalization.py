"""Normalization: which layers of a model keep running statistics."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def layers_with_statistics(model: nn.Module) -> dict[str, _NormBase]:
    """Return the batch (and instance) normalisation layers that keep running statistics."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    }
