"""Built-in architectures of the command line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from onebasin.checkpoints.inputs import InputSpec
from onebasin.networks.catalogue import NETWORKS
from onebasin.networks.mlp import MLP

__all__ = ["BUILTIN_ARCHITECTURES", "MLP", "BuiltinArchitecture"]


@dataclass(frozen=True)
class BuiltinArchitecture:
    """A built-in architecture and its example inputs.

    Args:
        build: function of keyword arguments that returns the module.
        inputs: function of the module that returns its example inputs.
    """

    build: Callable[..., nn.Module]
    inputs: Callable[[Any], tuple[InputSpec, ...]]


def _inputs(network: Any) -> tuple[InputSpec, ...]:
    return (InputSpec((2, *network.input_shape)),)


BUILTIN_ARCHITECTURES: Mapping[str, BuiltinArchitecture] = MappingProxyType(
    {name: BuiltinArchitecture(entry.build, _inputs) for name, entry in NETWORKS.items()}
)
"""The built-in architectures by name. Higher layers pass a longer table."""
