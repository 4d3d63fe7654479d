"""Runs of a model with the parameters of a mapping, without changing the model.

Checks that the mapping fits the model, and determines the common precision. Evaluation mode is set
for the time of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from onebasin._checks import check_mapping, check_tensor, named_tensors
from onebasin._dtypes import common_dtype, is_inexact
from onebasin.errors import OneBasinError
from onebasin.graph.batches import dtype_of


class FunctionalModel(nn.Module):
    """A model in evaluation mode with its parameters and buffers taken from a mapping.

    Calls, parameters and buffers work as for the model; there are no submodules. The tensors and
    training flags of the model do not change.

    Args:
        model: the architecture.
        params: a value for every parameter and buffer of its state dict. Integer buffers may
            be missing, and one name of a tied tensor is enough.

    Raises:
        OneBasinError: a tensor is missing, unknown or of another shape.
    """

    def __init__(self, model: nn.Module, params: Mapping[str, Tensor]) -> None:
        """Check the parameters against the model; nothing is copied."""
        super().__init__()
        values = bind_params(model, params)
        bound = model, values, promoted_dtype(model, values)
        # A closure, because a module in an attribute would become a submodule.
        self._bound = lambda: bound
        self.train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the model with these parameters."""
        model, params, precision = self._bound()
        args, kwargs = promote((args, kwargs), precision)
        with evaluation_mode(model):
            return functional_call(model, params, args, kwargs)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Yield the names and values of the parameters."""
        return self._named(nn.Module.named_parameters, *args, **kwargs)

    def named_buffers(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Yield the names and values of the buffers."""
        return self._named(nn.Module.named_buffers, *args, **kwargs)

    def _named(self, named: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        model, params, _ = self._bound()
        for name, own in named(model, *args, **kwargs):
            yield name, params.get(name, own)


def bind_params(model: nn.Module, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values for `torch.func.functional_call`, under the first name of tied tensors.

    Values of lower precision than the model (a float16 checkpoint) are converted to its precision.
    With values of higher precision (a float64 checkpoint), all are converted to it, including
    tensors of the model that no state dict has. Convert inputs with `promote`.

    Raises:
        OneBasinError: a tensor is missing, unknown or of another shape.
    """
    check_mapping(params, "params")
    required = model.state_dict(keep_vars=True)
    aliases = _aliases(model)
    _check_known(params, {*required, *(name for names in aliases.values() for name in names)})
    bound: dict[str, Tensor] = {}
    own_only: dict[str, Tensor] = {}
    for name, own in named_tensors(model, all_names=False):
        names = aliases[id(own)]
        source = next((n for n in names if n in params), None)
        if source is not None:
            value = _of_shape(source, params[source], own)
            bound[name] = _promote(value, own.dtype) if own.is_floating_point() else value
        elif own.is_floating_point() and any(n in required for n in names):
            raise OneBasinError(
                f"parameters: tensor {name!r} is missing; pass the state dict of a model of "
                "this architecture"
            )
        else:
            own_only[name] = own
    precision = promoted_dtype(model, bound)
    return bound if precision is None else promote({**bound, **own_only}, precision)


def promoted_dtype(model: nn.Module, bound: Mapping[str, Tensor]) -> torch.dtype | None:
    """Return the precision of values if it is higher than that of the model, otherwise None.

    Args:
        model: the architecture.
        bound: result of `bind_params`.
    """
    precision: torch.dtype | None = None
    for name, own in named_tensors(model, all_names=False):
        value = bound.get(name, own)
        # A counter that is stored as a float does not determine the precision.
        is_real = own.is_floating_point() and value.is_floating_point()
        if is_real and value.dtype != own.dtype:
            precision = common_dtype(precision or value.dtype, value.dtype)
    return precision


def input_dtype(model: nn.Module, bound: Mapping[str, Tensor]) -> torch.dtype | None:
    """Return the dtype of floating-point inputs of a model that runs with given values.

    Args:
        model: the architecture.
        bound: result of `bind_params`.

    Returns:
        The dtype, or None if inputs keep their dtype.
    """
    return promoted_dtype(model, bound) or dtype_of(model)


def promote(values: Any, precision: torch.dtype | None) -> Any:
    """Return a tree of tensors, with floating-point ones in at least a precision.

    Args:
        values: any tree; other values than floating-point tensors do not change.
        precision: the dtype; None returns the values unchanged.
    """
    if precision is None:
        return values
    return pytree.tree_map(partial(_promote, precision=precision), values)


def _promote(value: Any, precision: torch.dtype) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.to(common_dtype(value.dtype, precision))


def first_names(model: nn.Module) -> dict[str, str]:
    """Return the first name of the tensor for each name of a parameter or buffer."""
    return {name: names[0] for names in _aliases(model).values() for name in names}


def _aliases(model: nn.Module) -> dict[int, list[str]]:
    """Return all names of each tensor of the model, by its id."""
    aliases: dict[int, list[str]] = {}
    for name, own in named_tensors(model):
        aliases.setdefault(id(own), []).append(name)
    return aliases


def _check_known(params: Mapping[str, Tensor], known: set[str]) -> None:
    for name in params:
        if name not in known:
            raise OneBasinError(
                f"parameters: tensor {name!r} is not in the model; pass the state dict of a "
                "model of this architecture"
            )


def _of_shape(name: str, value: Tensor, own: Tensor) -> Tensor:
    check_tensor(f"tensor {name!r}", value)
    if value.shape != own.shape:
        raise OneBasinError(
            f"parameters: tensor {name!r} is {tuple(value.shape)} but {tuple(own.shape)} in the "
            "model; pass the state dict of a model of this architecture"
        )
    if is_inexact(own.dtype) and _kind(value) != _kind(own):
        raise OneBasinError(
            f"parameters: tensor {name!r} is {_kind(value)} ({value.dtype}) but {_kind(own)} in "
            "the model; convert it to the dtype of the model"
        )
    return value


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    return "floating-point" if tensor.is_floating_point() else "integer"


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Set a model and its submodules to evaluation mode for the time of a block.

    Only the flags are set; an overridden `train` method is not called.
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in flags:
            module.training = False
        yield
    finally:
        for module, flag in flags:
            module.training = flag
