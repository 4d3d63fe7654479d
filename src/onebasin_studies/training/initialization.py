"""Initialization of networks from a seed, without changing the global random state."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

from torch import nn

from onebasin._checks import described
from onebasin._random import seeded
from onebasin.errors import OneBasinError

Network = nn.Module | Callable[[], nn.Module]
"""An architecture: a module to reinitialize, or a function that builds one."""

# Modules use the global generator, which two threads must not seed at the same time.
_DRAWING = threading.Lock()


def initialized(network: Network, seed: int) -> nn.Module:
    """Return a network with newly drawn weights from its modules' own initializers.

    Args:
        network: the architecture; a module is copied, a function is called. The random state of
            torch is not changed.
        seed: random seed of the weights.

    Raises:
        OneBasinError: if a module with parameters has no `reset_parameters`, or the network is
            neither a module nor a function that builds one.
    """
    with _DRAWING, seeded(seed):
        if not isinstance(network, nn.Module):
            return _built(network)
        fresh = copy.deepcopy(network)
        for name, module in fresh.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise OneBasinError(
                    f"train: module {name or type(module).__name__!r} has parameters but no "
                    "reset_parameters(); give it one that draws them, or pass a function that "
                    "builds the network"
                )
    return fresh


def _built(network: Any) -> nn.Module:
    if not callable(network):
        raise OneBasinError(
            f"train: network is {described(network)}; pass a module or a function that builds "
            "one, such as MLP(width=16)"
        )
    found: Any = network()
    if not isinstance(found, nn.Module):
        raise OneBasinError(
            f"train: what the network function returned is {described(found)}; it must build a "
            "torch.nn.Module"
        )
    return found
