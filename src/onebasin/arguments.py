"""Arguments: what nearly every public function is given, and what it says when it is not that."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from onebasin.errors import OneBasinError


def described(value: Any) -> str:
    """Write a value that is out of place: itself where it is short, else its type.

    Examples:
        >>> described("mlp"), described([1, 2])
        ("'mlp'", 'of type list')
    """
    is_short = value is None or isinstance(value, bool | int | float | str)
    return repr(value) if is_short else f"of type {type(value).__name__}"


def check_model(call: str, model: Any) -> None:
    """Check that an architecture is a module.

    Args:
        call: the public function that is running, for the message.
        model: what was given.

    Raises:
        OneBasinError: when it is something else, a name or a class for example, or has
            parameters that are yet to be made.
    """
    if not isinstance(model, nn.Module):
        raise OneBasinError(f"{call}: model is {described(model)}; pass a torch.nn.Module")
    check_made(call, model)


def check_made(call: str, model: nn.Module) -> None:
    """Check that no parameter of a model waits for its first input.

    Args:
        call: who asks, for the message.
        model: the architecture.

    Raises:
        OneBasinError: when one does, as those of `nn.LazyLinear` do.
    """
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise OneBasinError(
                f"{call}: tensor {name!r} of the model is yet to be made; run the model once on an"
                " input first"
            )


def check_mapping(call: str, params: Any, name: str) -> None:
    """Check that the parameters of a network are a mapping.

    Args:
        call: who asks, for the message.
        params: what was given.
        name: what it is called there.

    Raises:
        OneBasinError: when they are not, a module for example.
    """
    if not isinstance(params, Mapping):
        raise OneBasinError(
            f"{call}: {name} is {described(params)}; pass a state dict, such as model.state_dict()"
        )


def check_tensor(place: str, value: Any) -> None:
    """Check that a value of a state dict is a tensor.

    Args:
        place: the call and the name of the value, for the message.
        value: what was found there.

    Raises:
        OneBasinError: when it is something else, an array of NumPy for example.
    """
    if not isinstance(value, Tensor):
        raise OneBasinError(f"{place} is {described(value)}; state dicts hold torch.Tensor only")


def inputs_tuple(call: str, example_args: Any) -> tuple[Any, ...]:
    """Return example inputs as the positional arguments of a model.

    Args:
        call: the public function that is running, for the message.
        example_args: one tensor, or several inputs.

    Raises:
        OneBasinError: when there are none, or they cannot be told apart.
    """
    if isinstance(example_args, Tensor):
        return (example_args,)
    if not isinstance(example_args, tuple | list):
        raise OneBasinError(
            f"{call}: example_args is {described(example_args)}; pass the inputs of one call of the"
            " model, a tensor or a tuple"
        )
    return tuple(example_args)
