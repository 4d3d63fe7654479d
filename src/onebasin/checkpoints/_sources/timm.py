"""Architectures of timm, by the names that `timm.create_model` takes."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from onebasin._packages import import_package, import_torchvision
from onebasin.checkpoints._inputs import InputSpec
from onebasin.checkpoints._sources.recipe import (
    Recipe,
    check_no_downloads,
    check_no_files,
    suggestion,
)
from onebasin.errors import OneBasinError


def timm_recipe(name: str, arguments: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a timm model.

    Args:
        name: name of the model, such as `vit_tiny_patch16_224`, with or without a weights tag.
        arguments: keyword arguments of `timm.create_model`.

    Returns:
        The recipe; weights are never downloaded.

    Raises:
        OneBasinError: timm is missing or has no such model, or an argument loads weights.
    """
    import_torchvision()
    timm = import_package("timm", extra="vision")
    if not timm.is_model(name):
        raise OneBasinError(
            f"timm:{name}: timm has no such model; {suggestion(name, timm.list_models())}"
        )
    check_no_downloads(f"timm:{name}", arguments, ("pretrained",))
    check_no_files(f"timm:{name}", arguments)
    kwargs = {"pretrained": False, **arguments}

    def inputs(module: nn.Module) -> tuple[InputSpec, ...]:
        return (InputSpec(_input_shape(module, arguments)),)

    return Recipe(f"timm:{name}", lambda: timm.create_model(name, **kwargs), inputs)


def _input_shape(module: Any, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the input shape of the model in timm, changed by the arguments of the user."""
    channels, *size = module.default_cfg["input_size"]
    channels = arguments.get("in_chans", channels)
    image_size = arguments.get("img_size", size)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return (2, channels, height, width)
