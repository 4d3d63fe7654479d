"""Substitution: running a module on other tensors, and leaving no trace in it.

Unlike `torch.func.functional_call` it also reaches the references that recurrent layers
keep to their weights, and undoes what a forward pass assigns to attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def substituted(model: nn.Module, substitute: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace every parameter and buffer of a module for the time of a block.

    Tied tensors are one object and get one substitute. After the block every submodule has
    the attributes, parameters and buffers it had before, the same objects.

    Args:
        model: the module.
        substitute: from a parameter or buffer to the tensor to use in its place.
    """
    saved = [(module, _snapshot(module)) for module in model.modules()]
    substitutes: dict[int, Tensor] = {}
    try:
        for tensor in [*model.parameters(), *model.buffers()]:
            substitutes[id(tensor)] = substitute(tensor)
        for module, _ in saved:
            _replace(module, substitutes)
        yield
    finally:
        for module, snapshot in saved:
            _restore(module, snapshot)


STORES = ("_parameters", "_buffers", "_modules")
Snapshot = tuple[dict[str, Any], dict[str, dict[str, Any]]]


def _snapshot(module: nn.Module) -> Snapshot:
    return dict(vars(module)), {name: dict(vars(module)[name]) for name in STORES}


def _restore(module: nn.Module, snapshot: Snapshot) -> None:
    attributes, stores = snapshot
    vars(module).clear()
    vars(module).update(attributes)
    for name, entries in stores.items():
        vars(module)[name].clear()
        vars(module)[name].update(entries)


def _replace(module: nn.Module, substitutes: dict[int, Tensor]) -> None:
    stores: list[dict[str, Any]] = [module._parameters, module._buffers]
    for store in stores:
        store.update({name: substitutes.get(id(tensor), tensor) for name, tensor in store.items()})
    for name, value in vars(module).items():
        if isinstance(value, list) and any(id(entry) in substitutes for entry in value):
            vars(module)[name] = [substitutes.get(id(entry), entry) for entry in value]
