"""Execution of a module with substituted tensors, without changing the module.

In contrast to `torch.func.functional_call`, it also replaces tensors in lists, tuples, dicts
and closures, and restores attributes that the forward pass assigns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from onebasin.symmetry._modules import shallow_clone


@contextmanager
def substituted(
    model: nn.Module,
    substitute: Callable[[Tensor], Tensor],
    *,
    redirect: Redirect | None = None,
) -> Iterator[nn.Module]:
    """Yield a module in evaluation mode that computes with other parameters and buffers.

    It is a copy if the module can be copied. Otherwise it is the module itself, and the
    attributes, parameters and buffers of its submodules are restored after the block.

    Args:
        model: the module.
        substitute: function that returns the replacement of a parameter or buffer; called
            once for a tied tensor.
        redirect: also replaces a tensor that a closure passes to a torch function. It does
            not support higher-order operators.
    """
    tensors = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    substitutes = {key: substitute(tensor) for key, tensor in tensors.items()}
    with shallow_clone(model, substitutes) as own:
        replaced = _replaced(model, substitutes) if own is model else nullcontext()
        if redirect is not None:
            redirect.substitutes = substitutes
        with replaced, redirect or nullcontext():
            yield own


class Redirect(TorchFunctionMode):
    """Replaces the tensor arguments of each torch function by their substitutes."""

    def __init__(self) -> None:
        """Start without substitutes."""
        super().__init__()
        self.substitutes: Mapping[int, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = {name: self._redirected(value) for name, value in (kwargs or {}).items()}
        return func(*map(self._redirected, args), **kwargs)

    def _redirected(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.substitutes.get(id(value), value)
        if type(value) in (list, tuple) and any(isinstance(entry, Tensor) for entry in value):
            return type(value)(map(self._redirected, value))
        return value


STORES = ("_parameters", "_buffers", "_modules")
Snapshot = tuple[dict[str, Any], dict[str, dict[str, Any]]]


@contextmanager
def _replaced(model: nn.Module, substitutes: Mapping[int, Tensor]) -> Iterator[None]:
    """Replace parameters and buffers of the module itself during a block."""
    saved = [(module, _snapshot(module)) for module in model.modules()]
    try:
        for module, _ in saved:
            _replace(module, substitutes)
        yield
    finally:
        for module, snapshot in saved:
            _restore(module, snapshot)


def _snapshot(module: nn.Module) -> Snapshot:
    return dict(vars(module)), {name: dict(vars(module)[name]) for name in STORES}


def _restore(module: nn.Module, snapshot: Snapshot) -> None:
    attributes, stores = snapshot
    vars(module).clear()
    vars(module).update(attributes)
    for name, entries in stores.items():
        vars(module)[name].clear()
        vars(module)[name].update(entries)


def _replace(module: nn.Module, substitutes: Mapping[int, Tensor]) -> None:
    stores: list[dict[str, Any]] = [module._parameters, module._buffers]
    for store in stores:
        store.update({name: substitutes.get(id(tensor), tensor) for name, tensor in store.items()})
    for name, value in vars(module).items():
        if isinstance(value, list) and any(id(entry) in substitutes for entry in value):
            vars(module)[name] = [substitutes.get(id(entry), entry) for entry in value]
