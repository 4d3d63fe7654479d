"""Small models with every operator of an architecture, from the benchmark's catalog."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from benchmarks.catalogue import load_torchvision, timm_entries
from benchmarks.catalogue.entry import Entry, random_images, seeded
from benchmarks.catalogue.transformers_entries import ARCHITECTURES
from benchmarks.catalogue.transformers_models import architecture_entry

SMALLER = {
    "transformers:ConvNextForImageClassification": {"image_size": 64},
    "transformers:DeepseekV2ForCausalLM": {
        "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
    },
    "transformers:LevitForImageClassification": {"depths": [1, 0, 0]},
    "transformers:MambaForCausalLM": {"num_hidden_layers": 1},
    "transformers:MixtralForCausalLM": {"num_hidden_layers": 1},
    "transformers:SwinForImageClassification": {"depths": [2, 1]},
}  # fmt: skip
"""Settings of small models with fewer repeated layers but all operators of the benchmark."""

LENGTHS = {"transformers:RwkvForCausalLM": 3, "transformers:MambaForCausalLM": 5}
"""Numbers of tokens for models whose graph grows with the length."""


@cache
def entry(key: str) -> Entry:
    """Return a model of `library:name`, if necessary with fewer layers than in the catalog."""
    library, name = key.split(":")
    if library == "torchvision":
        return torchvision_entry(name)
    if library == "timm":
        return next(e for e in timm_entries() if e.key == key)
    architecture = next(a for a in ARCHITECTURES if name == (a.name or a.model))
    smaller = replace(architecture, config={**architecture.config, **SMALLER.get(key, {})})
    return architecture_entry(smaller)


def torchvision_entry(name: str) -> Entry:
    """Return a model with the blocks of a published one, but fewer of each."""
    models = load_torchvision().models
    setting = partial(models.mobilenetv3.InvertedResidualConfig, width_mult=1.0)
    build = {
        "resnet": lambda: models.ResNet(models.resnet.BasicBlock, [2, 1, 1, 1]),
        "shufflenet_v2": lambda: models.ShuffleNetV2([2, 2, 2], [24, 48, 96, 192, 64]),
        "mobilenet_v3": lambda: models.MobileNetV3(
            [
                setting(16, 3, 16, 16, True, "RE", 2, 1),
                setting(16, 3, 72, 24, False, "RE", 2, 1),
                setting(24, 3, 88, 24, False, "RE", 1, 1),
                setting(24, 5, 96, 40, True, "HS", 2, 1),
                setting(40, 5, 240, 40, True, "HS", 1, 1),
            ],
            last_channel=64,
        ),
        "squeezenet1_1": lambda: models.squeezenet1_1(weights=None),
    }[name]
    return Entry(
        name, name, "torchvision", lambda: seeded(build),
        lambda model: ((random_images(2, 3, 64, 64),), {}),
    )  # fmt: skip


def example_of(key: str, model: torch.nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the inputs of a model, if necessary with fewer tokens."""
    args, kwargs = entry(key).example(model)
    length = LENGTHS.get(key)
    return args, {name: value[:, :length] for name, value in kwargs.items()} if length else kwargs
