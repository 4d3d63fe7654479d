"""Isolation: running a model without changing the user's module.

A forward pass may modify attributes, caches and training flags. A shallow clone has its
own attributes and shares only the tensors.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

STORES = ("_parameters", "_buffers", "_modules")
CONSTANTS = (bool, int, float, str, type(None), type, FunctionType, BuiltinFunctionType)
CONSTANTS = (*CONSTANTS, torch.dtype, torch.device, torch.Size)


@contextmanager
def shallow_clone(
    model: nn.Module, replacements: Mapping[int, Tensor] | None = None
) -> Iterator[nn.Module]:
    """Yield a copy of a model in evaluation mode that shares its parameters and buffers.

    The clone enters training mode once, which clears caches that evaluation mode keeps. If
    the model cannot be copied, the model itself is yielded, and its training flags are
    restored afterwards.

    Args:
        model: the user's model.
        replacements: substitutes for tensors of the model, by the `id` of the replaced
            tensor. They also apply inside tuples, lists and dicts. A model that cannot be
            copied keeps its tensors.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    flags = [(module, module.training) for module in model.modules()]
    try:
        memo: dict[int, Any] = {**shared, **(replacements or {})}
        _copy_plain_modules(model, memo)
        own = copy.deepcopy(model, memo)
    except Exception:  # some attribute cannot be copied; use the model itself
        own = model
    try:
        yield own.train().eval()
    finally:
        for module, training in flags:
            module.training = training


def _copy_plain_modules(model: nn.Module, memo: dict[int, Any]) -> None:
    """Copy plain modules into the memo of a deep copy, because `deepcopy` is slow for them."""
    for module in reversed(list(model.modules())):
        if _is_plain(module, memo):
            own = memo[id(module)] = module.__class__.__new__(module.__class__)
            for name, value in vars(module).items():
                if name in STORES:
                    entries = ((key, memo.get(id(x), x)) for key, x in value.items())
                    value = type(value)(entries)
                vars(own)[name] = value.copy() if isinstance(value, dict | list | set) else value


def _is_plain(module: nn.Module, memo: Mapping[int, Any]) -> bool:
    """Whether a module holds only tensors, copied modules and constants."""
    kind = type(module)
    if hasattr(kind, "__deepcopy__") or not kind.__setstate__.__module__.startswith("torch.nn."):
        return False
    if kind.__getstate__ != nn.Module.__getstate__ or kind.__new__ is not object.__new__:
        return False
    return all(
        all(x is None or id(x) in memo for x in value.values())
        if name in STORES
        else _is_constant(value)
        for name, value in vars(module).items()
    )


def _is_constant(value: Any) -> bool:
    if isinstance(value, CONSTANTS):
        return True
    if type(value) in (list, tuple, set):
        return all(isinstance(entry, CONSTANTS) for entry in value)
    return type(value) in (dict, OrderedDict) and not value
