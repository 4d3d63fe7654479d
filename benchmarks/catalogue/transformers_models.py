"""transformers architectures with tiny configurations and random weights.

An `Architecture` has a class, a configuration and a kind of input. The configurations are in the
files of this folder, one for each kind of model. All sizes of a model differ if possible: two
dimensions could otherwise agree by accident.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from .entry import Entry, Example, seeded
from .torchvision_models import load_torchvision

Inputs = Callable[[Any], dict[str, Any]]

INITIALIZER_RANGE = 0.2


@dataclass(frozen=True)
class Architecture:
    """A model class of transformers and the tiny configuration it is built with.

    Args:
        model: the class in `transformers`; also the entry's name.
        family: the architecture's folder in `transformers.models`.
        inputs: takes the configuration, returns the keyword arguments of one forward pass.
        config: keyword arguments of the class's configuration.
        output: where the model also returns hidden states, the one output to keep.
        name: the entry's name where one class stands for several architectures.
    """

    model: str
    family: str
    inputs: Inputs
    config: Mapping[str, Any] = field(default_factory=dict)
    output: str | None = None
    name: str | None = None


class OneOutput(nn.Module):
    """Returns a single output of a model, so that its hidden states do not count as outputs."""

    def __init__(self, model: nn.Module, output: str) -> None:
        """Wrap `model`, whose forward pass returns a mapping that has the key `output`."""
        super().__init__()
        self.model = model
        self.output = output

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The wrapped model's output of that name."""
        return getattr(self.model(*args, **kwargs), self.output)


def architecture_entry(architecture: Architecture) -> Entry:
    """The catalogue entry of one architecture."""
    return Entry(
        architecture.name or architecture.model,
        architecture.family,
        "transformers",
        partial(_build, architecture),
        partial(_example, architecture),
    )


def _build(architecture: Architecture) -> nn.Module:
    load_torchvision()  # transformers imports it wherever it is installed
    model_class = getattr(importlib.import_module("transformers"), architecture.model)
    config = model_class.config_class(**architecture.config)
    _widen_initialization(config)
    model = seeded(lambda: model_class(config))
    return model if architecture.output is None else OneOutput(model, architecture.output).eval()


def _example(architecture: Architecture, model: nn.Module) -> Example:
    inner = model.model if isinstance(model, OneOutput) else model
    return (), architecture.inputs(inner.config)


def _widen_initialization(config: Any) -> None:
    """Larger random weights: at hidden sizes of 60 the usual 0.02 leaves attention uniform."""
    for name in ("initializer_range", "init_std"):
        if hasattr(config, name):
            setattr(config, name, INITIALIZER_RANGE)
    for value in vars(config).values():
        if hasattr(value, "to_diff_dict"):
            _widen_initialization(value)
