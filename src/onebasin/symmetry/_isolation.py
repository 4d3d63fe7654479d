"""Isolation: a model to run without leaving a trace in the user's.

A forward pass may write more than tensors: attributes, tables kept from call to call,
training flags. An isolated model has attributes of its own and shares only the tensors.
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
def isolated(
    model: nn.Module, replacements: Mapping[int, Tensor] | None = None
) -> Iterator[nn.Module]:
    """Yield a copy of a model in evaluation mode that shares its parameters and buffers.

    The copy has been in training mode for a moment, so that what a module keeps from
    evaluation to evaluation is gone. A model that cannot be copied is yielded itself, and
    its modules get their own training flags back.

    Args:
        model: the user's model.
        replacements: tensors that the copy holds instead of some, by the `id` of the tensor
            that they replace, also inside tuples, lists and dicts. A model that cannot be
            copied keeps its own.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    flags = [(module, module.training) for module in model.modules()]
    try:
        memo: dict[int, Any] = {**shared, **(replacements or {})}
        _copy_plain_modules(model, memo)
        own = copy.deepcopy(model, memo)
    except Exception:  # some attribute cannot be copied: use the model itself
        own = model
    try:
        yield own.train().eval()
    finally:
        for module, training in flags:
            module.training = training


def _copy_plain_modules(model: nn.Module, memo: dict[int, Any]) -> None:
    """Add copies of the plain modules to the memo of a deep copy, which is slow for them."""
    for module in reversed(list(model.modules())):
        if _is_plain(module, memo):
            own = memo[id(module)] = module.__class__.__new__(module.__class__)
            for name, value in vars(module).items():
                if name in STORES:
                    entries = ((key, memo.get(id(x), x)) for key, x in value.items())
                    value = type(value)(entries)
                vars(own)[name] = value.copy() if isinstance(value, dict | list | set) else value


def _is_plain(module: nn.Module, memo: Mapping[int, Any]) -> bool:
    """Whether a module holds no more than tensors, copied modules and constants."""
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
