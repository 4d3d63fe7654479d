"""The architectures that come with onebasin, as the command line knows them."""

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
    """How to build a named architecture and what to feed it.

    Args:
        build: Makes the module from keyword arguments.
        inputs: Tells the inputs of a module that `build` made.
    """

    build: Callable[..., nn.Module]
    inputs: Callable[[Any], tuple[InputSpec, ...]]


def _inputs(network: Any) -> tuple[InputSpec, ...]:
    return (InputSpec((2, *network.input_shape)),)


BUILTIN_ARCHITECTURES: Mapping[str, BuiltinArchitecture] = MappingProxyType(
    {name: BuiltinArchitecture(entry.build, _inputs) for name, entry in NETWORKS.items()}
)
"""The architectures known by name alone; layers above pass a longer table of their own."""
