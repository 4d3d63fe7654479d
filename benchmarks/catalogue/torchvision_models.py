"""Every classification model of torchvision, with random weights and the smallest useful input.

Input sizes give at least 2x2 positions before the last pooling: a dimension of size 1 could
broadcast by accident.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import torch
from torch import nn

from .entry import Entry, Example, random_images, seeded

DEFAULT_SIZE = 64
SIZES = {
    "alexnet": 96,
    "inception_v3": 107,
    "maxvit_t": 224,
    "swin": 128,
    "vit_h_14": 56,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
    "vit_b_16": {"image_size": 64},
    "vit_b_32": {"image_size": 64},
    "vit_l_16": {"image_size": 64},
    "vit_l_32": {"image_size": 64},
    "vit_h_14": {"image_size": 56},
}
FAMILIES = (
    "alexnet", "convnext", "densenet", "efficientnet_v2", "efficientnet", "googlenet", "inception",
    "maxvit", "mnasnet", "mobilenet_v2", "mobilenet_v3", "regnet_x", "regnet_y", "resnext",
    "wide_resnet", "resnet", "shufflenet", "squeezenet", "swin_v2", "swin", "vgg", "vit",
)  # fmt: skip

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []


def load_torchvision() -> Any:
    """Import torchvision; with a CPU build of torch, declare two required operators."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    _libraries.append(library)
    for schema in _SCHEMAS:
        library.define(schema)
    return importlib.import_module("torchvision")


def torchvision_entries() -> list[Entry]:
    """One entry per classification model that the installed torchvision lists."""
    models = load_torchvision().models
    return [_entry(name) for name in models.list_models(module=models)]


def _entry(name: str) -> Entry:
    family = next(prefix for prefix in FAMILIES if name.startswith(prefix))
    return Entry(name, family, "torchvision", partial(_build, name), partial(_example, name))


def _build(name: str) -> nn.Module:
    models = load_torchvision().models
    arguments = ARGUMENTS.get(name, {})
    return seeded(lambda: models.get_model(name, weights=None, **arguments))


def _example(name: str, model: nn.Module) -> Example:
    size = next((s for prefix, s in SIZES.items() if name.startswith(prefix)), DEFAULT_SIZE)
    return (random_images(2, 3, size, size),), {}
