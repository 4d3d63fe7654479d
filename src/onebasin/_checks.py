"""Validation of common arguments: modules, state dicts, symmetries, example inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from inspect import signature
from itertools import chain
from typing import Any, ParamSpec, TypeVar

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from onebasin.errors import ArgumentError, public


def named_tensors(model: nn.Module, *, all_names: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters and buffers of a module by name, also non-persistent ones.

    Args:
        model: any module, on any device.
        all_names: yield a tied tensor under each of its names, not only under the first.

    Example:
        >>> [name for name, _ in named_tensors(nn.Linear(2, 3))]
        ['weight', 'bias']
    """
    return chain(
        model.named_parameters(remove_duplicate=not all_names),
        model.named_buffers(remove_duplicate=not all_names),
    )


P = ParamSpec("P")
R = TypeVar("R")


def described(value: Any) -> str:
    """Return an invalid value for messages: the value if it is short, otherwise its type.

    Examples:
        >>> described("mlp"), described([1, 2])
        ("'mlp'", 'of type list')
    """
    is_short = value is None or isinstance(value, bool | int | float | str)
    return repr(value) if is_short else f"of type {type(value).__name__}"


def check_model(model: Any) -> None:
    """Check that an architecture is a module.

    Args:
        model: the argument.

    Raises:
        OneBasinError: the argument has another type, such as a name or a class, or has
            uninitialized parameters.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model is {described(model)}; pass a torch.nn.Module")
    check_initialized(model)


def check_initialized(model: nn.Module) -> None:
    """Check that no parameter of a model is uninitialized.

    Args:
        model: the architecture.

    Raises:
        OneBasinError: a parameter is uninitialized, as in `nn.LazyLinear` before the first input.
    """
    for name, tensor in named_tensors(model, all_names=False):
        if is_lazy(tensor):
            raise ArgumentError(
                f"tensor {name!r} of the model is uninitialized; run the model once on an"
                " input first"
            )


def check_mapping(params: Any, name: str) -> None:
    """Check that the parameters of a network are a mapping.

    Args:
        params: the argument.
        name: name of the argument.

    Raises:
        OneBasinError: the argument is not a mapping, but a module for example.
    """
    if not isinstance(params, Mapping):
        raise ArgumentError(
            f"{name} is {described(params)}; pass a state dict, such as model.state_dict()"
        )


def check_tensor(place: str, value: Any) -> None:
    """Check that a value of a state dict is a tensor.

    Args:
        place: name of the value, for the message.
        value: the value.

    Raises:
        OneBasinError: the value has another type, such as a NumPy array.
    """
    if not isinstance(value, Tensor):
        raise ArgumentError(f"{place} is {described(value)}; state dicts hold torch.Tensor only")


def check_names(argument: str, names: Any, networks: Mapping[str, Any]) -> None:
    """Check that an argument is a list of names of networks.

    Args:
        argument: name of the argument.
        names: its value.
        networks: all networks by name.

    Raises:
        OneBasinError: the argument is not a list, or has an unknown name.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ArgumentError(f"{argument} is {described(names)}; pass a list of names of networks")
    for name in names:
        if name not in networks:
            raise ArgumentError(
                f"{argument} has the unknown network {described(name)}; the names are "
                f"{', '.join(map(str, networks))}"
            )


NETWORKS = frozenset({"params", "params_a", "params_b"})
"""Names of arguments that are the parameters of one network."""

SEVERAL_NETWORKS = frozenset({"params_list", "networks", "sources"})
"""Names of arguments that hold several networks: a list, or a mapping if they have names."""


def checks_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Check the common arguments of a public function before it runs.

    A module is accepted instead of its state dict, and a verification instead of its symmetry.

    Args:
        function: any function; arguments are recognized by their names.

    Example:
        >>> @checks_arguments
        ... def first(params):
        ...     return next(iter(params))
        >>> first(nn.Linear(2, 3))
        'weight'
    """
    names = signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = names.bind(*args, **kwargs)
        except TypeError:  # the message of Python is better
            return function(*args, **kwargs)
        for name, value in bound.arguments.items():
            if value is not names.parameters[name].default:
                kind = str(names.parameters[name].annotation)
                bound.arguments[name] = _checked(name, value, kind)
        return function(*bound.args, **bound.kwargs)

    return public(call)


def _checked(name: str, value: Any, kind: str) -> Any:
    """Return an argument, converted if needed; `kind` is its annotation."""
    if name in NETWORKS:
        return state_of(value)
    if name in SEVERAL_NETWORKS:
        return (
            _named_states(name, value)
            if "Mapping[str, Mapping" in kind
            else (_listed_states(name, value))
        )
    if name == "symmetry":
        return _symmetry_of(value)
    if name == "model":
        check_model(value)
    if name == "init":
        if not ("Transformation" in kind and hasattr(value, "maps")):
            _check_init(value, several=kind.startswith("Sequence"))
    if name == "progress" and not callable(value):
        raise ArgumentError(f"progress is {described(value)}; pass a function")
    return value


def state_of(value: Any) -> Any:
    """Return the tensors of the state dict of a module; other values unchanged."""
    if not isinstance(value, nn.Module):
        return value
    return {name: each for name, each in value.state_dict().items() if isinstance(each, Tensor)}


def _listed_states(name: str, value: Any) -> Any:
    if isinstance(value, Mapping | str) or not isinstance(value, Sequence):
        raise ArgumentError(f"{name} is {described(value)}; pass a list of state dicts")
    states = [state_of(each) for each in value]
    for place, state in enumerate(states):
        check_mapping(state, f"{name}[{place}]")
    return states


def _named_states(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{name} is {described(value)}; pass a mapping of names to state dicts")
    states = {label: state_of(each) for label, each in value.items()}
    for label, state in states.items():
        check_mapping(state, f"{name}[{label!r}]")
    return states


def _symmetry_of(value: Any) -> Any:
    """Return the symmetry of a verification; return a symmetry unchanged.

    Raises:
        OneBasinError: the argument has another type, such as a model.
    """
    if hasattr(value, "layouts") and hasattr(value, "groups"):
        return value
    if hasattr(value, "failed_groups") and hasattr(value, "symmetry"):
        return value.symmetry
    if isinstance(value, nn.Module):
        raise ArgumentError(
            f"symmetry is the model ({type(value).__name__}); pass its symmetry, "
            "infer_symmetry(model, example_inputs)"
        )
    raise ArgumentError(
        f"symmetry is {described(value)}; pass a symmetry, such as infer_symmetry(model, inputs)"
    )


def _check_init(value: Any, *, several: bool) -> None:
    given = value if several and isinstance(value, list | tuple) else [value]
    if (several and given is not value) or not all(hasattr(each, "indices") for each in given):
        wanted = "a list of Permutations, one for each network" if several else "a Permutation"
        raise ArgumentError(f"init is {described(value)}; pass {wanted}")


LABEL_KEYS = ("labels", "label")
"""Entries of a batch that hold the labels."""


def model_inputs(
    model: nn.Module,
    example_args: Any,
    example_kwargs: Mapping[str, Any] | None,
    *,
    name: str = "example_args",
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return example inputs as positional and keyword arguments of a model.

    A mapping holds keyword inputs, like a batch of a data loader. Labels in it that the model
    does not take are omitted. A model that takes none of its keys gets the mapping itself.

    Args:
        model: the model.
        example_args: one tensor, a tuple of positional inputs, or a mapping.
        example_kwargs: keyword inputs.
        name: name of the argument, for messages.

    Raises:
        OneBasinError: there are no inputs, or the model does not take them.
    """
    kwargs = dict(example_kwargs or {})
    if isinstance(example_args, Tensor):
        return (example_args,), kwargs
    if isinstance(example_args, tuple | list):
        return tuple(example_args), kwargs
    if not isinstance(example_args, Mapping):
        raise ArgumentError(
            f"{name} is {described(example_args)}; pass the inputs of one call of the"
            " model: a tensor, a tuple, or a mapping of keyword inputs"
        )
    return _keyword_inputs(model, dict(example_args), kwargs)


def _keyword_inputs(
    model: nn.Module, batch: dict[str, Any], kwargs: dict[str, Any]
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
        raise ArgumentError(
            f"{type(model).__name__} takes no input {unknown[0]!r}; it takes {', '.join(named)}"
        )
    return (), inputs


def _keywords(model: nn.Module) -> tuple[list[str], bool]:
    """Return the names of the keyword inputs of a model, and whether it takes any name."""
    parameters = signature(model.forward).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)
