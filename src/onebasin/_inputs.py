"""Example inputs of a model, in the forms in which users have them."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from torch import Tensor, nn

from onebasin._checks import described
from onebasin.errors import OneBasinError

LABEL_KEYS = ("labels", "label")
"""Entries of a batch that hold the labels."""


def model_inputs(
    call: str, model: nn.Module, example_args: Any, example_kwargs: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return example inputs as positional and keyword arguments of a model.

    A mapping holds keyword inputs, like a batch of a data loader. Labels in it that the model
    does not take are left out. A model that takes none of its keys gets the mapping itself.

    Args:
        call: the public function that is running, for the message.
        model: the model.
        example_args: one tensor, a tuple of positional inputs, or a mapping.
        example_kwargs: keyword inputs.

    Raises:
        OneBasinError: when there are no inputs, or the model does not take them.
    """
    kwargs = dict(example_kwargs or {})
    if isinstance(example_args, Tensor):
        return (example_args,), kwargs
    if isinstance(example_args, tuple | list):
        return tuple(example_args), kwargs
    if not isinstance(example_args, Mapping):
        raise OneBasinError(
            f"{call}: example_args is {described(example_args)}; pass the inputs of one call of the"
            " model: a tensor, a tuple, or a mapping of keyword inputs"
        )
    return _keyword_inputs(call, model, dict(example_args), kwargs)


def _keyword_inputs(
    call: str, model: nn.Module, batch: dict[str, Any], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a batch as keyword inputs, or as one positional input if no name is known."""
    if not batch:
        return (), kwargs
    named, takes_any = _keywords(model)
    if not takes_any and not any(name in named for name in batch):
        return (batch,), kwargs
    inputs = {
        name: value for name, value in batch.items() if name in named or name not in LABEL_KEYS
    }
    inputs |= kwargs
    unknown = [] if takes_any else [name for name in inputs if name not in named]
    if unknown:
        raise OneBasinError(
            f"{call}: {type(model).__name__} takes no input {unknown[0]!r}; it takes"
            f" {', '.join(named)}"
        )
    return (), inputs


def _keywords(model: nn.Module) -> tuple[list[str], bool]:
    """Return the names of a model's keyword inputs, and whether it takes any other name."""
    parameters = signature(model.forward).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)
