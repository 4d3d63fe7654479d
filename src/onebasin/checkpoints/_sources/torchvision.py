"""Architectures of torchvision, by the names that `torchvision.models.get_model` takes."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from onebasin._packages import import_package, import_torchvision
from onebasin.checkpoints._inputs import InputSpec
from onebasin.checkpoints._sources.recipe import Recipe, check_no_downloads, suggestion
from onebasin.errors import OneBasinError

_IMAGE = 224
_SMALL_IMAGE = 112
_INCEPTION_IMAGE = 299
_CLIP_LENGTH = 16


def torchvision_recipe(name: str, arguments: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a torchvision model.

    Args:
        name: name of the model, such as `resnet50`.
        arguments: keyword arguments of the model.

    Returns:
        The recipe; weights are never downloaded.

    Raises:
        OneBasinError: torchvision is missing or has no such model, or an argument selects weights.
    """
    import_torchvision()
    models = import_package("torchvision.models", extra="vision")
    if name not in models.list_models():
        raise OneBasinError(
            f"torchvision:{name}: torchvision has no such model; "
            f"{suggestion(name, models.list_models())}"
        )
    check_no_downloads(f"torchvision:{name}", arguments, ("weights", "weights_backbone"))
    accepted = inspect.signature(models.get_model_builder(name)).parameters
    kwargs = {"weights": None, **arguments}
    if "weights_backbone" in accepted:
        kwargs.setdefault("weights_backbone", None)
    if name.endswith(("googlenet", "inception_v3")):
        kwargs.setdefault("init_weights", True)  # without it, they warn about a changing default

    def inputs(module: nn.Module) -> tuple[InputSpec, ...]:
        return (InputSpec(_input_shape(name, module)),)

    return Recipe(f"torchvision:{name}", lambda: models.get_model(name, **kwargs), inputs)


def _input_shape(name: str, module: nn.Module) -> tuple[int, ...]:
    kind = type(module).__module__
    if ".detection" in kind or ".optical_flow" in kind:
        raise OneBasinError(
            f"torchvision:{name}: has no default input; pass example_inputs=, or wrap the "
            "model in your own callable and name it as package.module:callable"
        )
    if ".video" in kind:
        size = _SMALL_IMAGE if kind.endswith(".resnet") else _IMAGE
        return (2, 3, _CLIP_LENGTH, size, size)
    size = _INCEPTION_IMAGE if name.endswith("inception_v3") else _IMAGE
    fixed = getattr(module, "image_size", size)  # vision transformers take a single size
    return (2, 3, fixed, fixed) if isinstance(fixed, int) else (2, 3, size, size)
