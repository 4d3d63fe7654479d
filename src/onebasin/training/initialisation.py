"""Initialisation: fresh weights from a seed, the generator of the process left alone."""

from __future__ import annotations

import copy

import torch
from torch import nn

from onebasin.errors import OneBasinError


def initialised(network: nn.Module, seed: int) -> nn.Module:
    """Return a copy of a network with new weights, each module's own kind of random ones.

    Args:
        network: the architecture; neither it nor the random state of torch is changed.
        seed: same seed, same weights.

    Raises:
        OneBasinError: when a module has parameters but no `reset_parameters` to draw them.
    """
    fresh = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in fresh.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise OneBasinError(
                    f"train: module {name or type(module).__name__!r} has parameters but no "
                    "reset_parameters(); give it one that draws them"
                )
    return fresh
