"""Built-in networks by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from onebasin.errors import OneBasinError
from onebasin.networks.mlp import MLP
from onebasin.networks.resnet import ResNet
from onebasin.networks.resnet20 import ResNet20
from onebasin.networks.shallow_cnn import ShallowCNN
from onebasin.networks.vgg import VGG
from onebasin.networks.vit import VisionTransformer


@dataclass(frozen=True)
class NetworkEntry:
    """A built-in network.

    Args:
        build: function of keyword arguments that returns a module with an `input_shape`.
        fit: function of an input shape, without the batch, that returns keyword arguments for it.
        summary: description on one line.
    """

    build: Callable[..., nn.Module]
    fit: Callable[[Sequence[int]], Mapping[str, int]]
    summary: str


def _flat(shape: Sequence[int]) -> Mapping[str, int]:
    return {"in_features": math.prod(shape)}


def _image(shape: Sequence[int]) -> Mapping[str, int]:
    if len(shape) != 3 or shape[1] != shape[2]:
        raise OneBasinError(
            f"inputs are {tuple(shape)}, but it takes square images (channels, size, size)"
        )
    return {"in_channels": shape[0], "image_size": shape[1]}


def _images(build: Callable[..., nn.Module], summary: str) -> NetworkEntry:
    return NetworkEntry(build, _image, summary)


NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType(
    {
        "mlp": NetworkEntry(MLP, _flat, "multilayer perceptron with ReLU"),
        "shallow-cnn": _images(ShallowCNN, "convolutions without pooling (Neyshabur 2020)"),
        **{
            f"vgg{depth}": _images(partial(VGG, depth=depth), f"VGG of {depth} layers")
            for depth in (11, 13, 16, 19)
        },
        **{
            f"resnet{depth}": _images(
                partial(ResNet, depth=depth), f"ResNet{depth} with a stem for small images"
            )
            for depth in (18, 34, 50)
        },
        "resnet20": _images(ResNet20, "ResNet20 with a width factor (Ainsworth et al. 2023)"),
        "vit": _images(VisionTransformer, "small vision transformer"),
    }
)
"""The built-in networks by name."""


def build_network(
    name: str,
    *,
    input_shape: Sequence[int] | None = None,
    num_classes: int | None = None,
    **arguments: Any,
) -> nn.Module:
    """Return a network by name, for inputs of a shape.

    Weights depend on the global random state of torch.

    Args:
        name: one of `NETWORKS`.
        input_shape: shape of one example. Default: that of the network.
        num_classes: number of outputs. Default: that of the network.
        arguments: further arguments of the network, such as `width`.

    Returns:
        The module, in training mode.

    Raises:
        OneBasinError: the name or an argument is unknown, an argument is out of range, or the
            network does not support such inputs.

    Examples:
        >>> build_network("mlp", input_shape=(1, 28, 28), width=16).in_features
        784
    """
    if name not in NETWORKS:
        raise OneBasinError(f"network: unknown {name!r}; known are {', '.join(NETWORKS)}")
    entry = NETWORKS[name]
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    try:
        fitted = {} if input_shape is None else entry.fit(input_shape)
        return entry.build(**fitted, **arguments)
    except OneBasinError as error:
        text = str(error)
        raise OneBasinError(text if text.startswith(name) else f"{name}: {text}") from error
    except TypeError as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise OneBasinError(f"{name}: cannot be built with ({given}): {error}") from error
