"""Modules from names: torchvision, timm, transformers, callables, built-in architectures."""

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from onebasin._checks import check_initialized
from onebasin._text import one_line
from onebasin.checkpoints._arguments import parse_arguments
from onebasin.checkpoints._inputs import InputSpec, make_inputs, parse_input_spec
from onebasin.checkpoints._memory import open_mapping
from onebasin.checkpoints._metadata import SOURCES
from onebasin.checkpoints._missing_tensors import TiedView, saved_tensors, tied_names
from onebasin.checkpoints._sources.callables import callable_recipe
from onebasin.checkpoints._sources.recipe import Recipe, unchanged
from onebasin.checkpoints._sources.timm import timm_recipe
from onebasin.checkpoints._sources.torchvision import torchvision_recipe
from onebasin.checkpoints._sources.transformers import transformers_recipe
from onebasin.checkpoints.checkpoint import Checkpoint, open_checkpoint
from onebasin.checkpoints.validation import check_fits
from onebasin.errors import ArgumentError, OneBasinError, public
from onebasin.networks.catalogue import NETWORKS
from onebasin.networks.mlp import MLP

__all__ = ["BUILTIN_ARCHITECTURES", "MLP", "BuiltinArchitecture"]


@dataclass(frozen=True)
class BuiltinArchitecture:
    """A built-in architecture and its example inputs.

    Args:
        build: function of keyword arguments that returns the module.
        inputs: function of the module that returns its example inputs.
    """

    build: Callable[..., nn.Module]
    inputs: Callable[[Any], tuple[InputSpec, ...]]


def _inputs(network: Any) -> tuple[InputSpec, ...]:
    return (InputSpec((2, *network.input_shape)),)


BUILTIN_ARCHITECTURES: Mapping[str, BuiltinArchitecture] = MappingProxyType(
    {name: BuiltinArchitecture(entry.build, _inputs) for name, entry in NETWORKS.items()}
)
"""The built-in architectures by name. Higher layers may pass a longer table."""


_RECIPES: Mapping[str, Callable[[str, Mapping[str, Any]], Recipe]] = dict(
    zip(SOURCES, (torchvision_recipe, timm_recipe, transformers_recipe), strict=True)
)
Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword inputs of a module."""
_FORMS = "torchvision:NAME, timm:NAME, hf:FOLDER, package.module:callable"


@dataclass(frozen=True)
class Architecture:
    """A module with random weights, and its example inputs.

    Args:
        name: the specification that the module was built from.
        module: the module, in evaluation mode.
        example_args: positional example inputs.
        example_kwargs: keyword example inputs.
        build: function of a device that builds another module on it.
        adapt: function that renames the tensors of a checkpoint as in the module.
    """

    name: str
    module: nn.Module
    example_args: tuple[Any, ...]
    example_kwargs: dict[str, Any]
    build: Callable[[str], nn.Module] = field(repr=False)
    adapt: Callable[[nn.Module, Checkpoint], Checkpoint] = field(default=unchanged, repr=False)


@public
def build_architecture(
    spec: str,
    *,
    arch_args: Mapping[str, Any] | Iterable[str] | None = None,
    input_spec: str | Sequence[str] | None = None,
    device: str = "cpu",
    seed: int = 0,
    builtin: Mapping[str, BuiltinArchitecture] = BUILTIN_ARCHITECTURES,
    example_inputs: Callable[[nn.Module], Arguments | None] | None = None,
) -> Architecture:
    """Return the module that a specification names, with example inputs.

    The text is `torchvision:NAME`, `timm:NAME`, `hf:FOLDER` (a local folder with a
    config.json), `package.module:callable`, or a built-in name. Nothing is downloaded, and
    the global random state does not change.

    Args:
        spec: the specification.
        arch_args: keyword arguments of the architecture, or `KEY=VALUE` texts.
        input_spec: inputs such as `2x3x224x224` or `2x16:int64<1000`, instead of the
            source's defaults.
        device: `cpu`, or `meta` to build without memory.
        seed: random seed of weights and inputs.
        builtin: the built-in architectures by name.
        example_inputs: returns positional and keyword inputs for the module, instead of the
            source's defaults; or None.

    Returns:
        The module and its example inputs.

    Raises:
        OneBasinError: the architecture is unknown, needs a package that is missing, or
            cannot be built; an argument or input text is malformed.

    Examples:
        >>> mlp = build_architecture("mlp", arch_args=["width=32"])
        >>> mlp.module(*mlp.example_args).shape
        torch.Size([2, 10])
    """
    arguments = parse_arguments(arch_args)
    specs = None if input_spec is None else parse_input_spec(input_spec)
    _check_device(device)
    recipe = _find_recipe(spec, arguments, builtin)

    def build(device: str) -> nn.Module:
        return _build(recipe, arguments, device, seed)

    module = build(device)
    try:
        check_initialized(module)
    except ArgumentError as error:
        raise OneBasinError(f"{spec}: {error}") from error
    example = None if example_inputs is None else example_inputs(module)
    if example is not None:
        return Architecture(spec, module, *example, build, recipe.adapt)
    specs = recipe.inputs(module) if specs is None else _name_inputs(specs, module)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    args, kwargs = make_inputs(specs, dtype=dtype, device=device, seed=seed)
    return Architecture(spec, module, args, kwargs, build, recipe.adapt)


def open_checkpoint_for(
    architecture: Architecture,
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    key: str | None = None,
    label: str = "state dict",
) -> Checkpoint:
    """Return an open checkpoint with the tensor names of an architecture.

    Like `open_checkpoint`, but the names of the architecture determine the removed prefixes.
    If files of transformers have other names or shapes than its modules, the result has those of
    the module.
    `write_checkpoint(..., like=...)` writes them as they were stored.

    Args:
        architecture: the architecture of the checkpoint; `check_fits` checks that.
        source: file, folder or state dict.
        key: which state dict to read; see `open_checkpoint`.
        label: name of a state dict in memory, for messages.

    Returns:
        The lazy mapping of names to tensors.

    Raises:
        OneBasinError: as `open_checkpoint`.
    """
    module = architecture.module
    names = list(saved_tensors(module))

    def opened(expected_names: list[str] | None) -> Checkpoint:
        if isinstance(source, Mapping):
            return open_mapping(source, label, key=key, expected_names=expected_names)
        return open_checkpoint(source, key=key, expected_names=expected_names)

    if architecture.adapt is unchanged:
        return opened(names)
    # The rules of the library come first, because they are reversible.
    checkpoint = architecture.adapt(module, opened(None))
    if set(names) <= set(checkpoint):
        return checkpoint
    renamed = opened(names)
    return max(
        checkpoint,
        architecture.adapt(module, renamed),
        key=lambda candidate: len(set(names) & set(candidate)),
    )


@public
def load_module(architecture: Architecture, params: Mapping[str, Tensor]) -> nn.Module:
    """Return a new module with the given parameters and buffers.

    The module is on the CPU and keeps the architecture's dtypes, whatever the checkpoint's.

    Args:
        architecture: the architecture; a module on the meta device is built again.
        params: a checkpoint that fits the architecture (see `check_fits`).

    Returns:
        The module, in evaluation mode.

    Raises:
        OneBasinError: the checkpoint does not fit.
    """
    check_fits(params, architecture.module)
    on_meta = any(t.is_meta for t in saved_tensors(architecture.module).values())
    module = architecture.build("cpu") if on_meta else copy.deepcopy(architecture.module)
    stored = TiedView(params, tied_names(module))
    with torch.no_grad():
        for name, target in saved_tensors(module).items():
            if name in stored:  # BatchNorm counters may be missing
                target.copy_(stored[name])
    return module


def _check_device(device: str) -> None:
    try:
        torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(
            f"device is {device!r}; it must be a device of torch, such as 'cpu', 'cuda' or 'meta'"
        ) from error


def _find_recipe(
    spec: str, arguments: Mapping[str, Any], builtin: Mapping[str, BuiltinArchitecture]
) -> Recipe:
    prefix, colon, name = spec.partition(":")
    if spec in builtin:
        entry = builtin[spec]
        return Recipe(spec, lambda: entry.build(**arguments), entry.inputs)
    if not colon or not prefix or not name:
        close = get_close_matches(spec, builtin, n=1)
        known = f"did you mean {close[0]!r}? Known are" if close else "known are"
        raise OneBasinError(f"{_unknown(spec)}; {known} {', '.join(sorted(builtin))}, and {_FORMS}")
    if prefix in SOURCES:
        return _RECIPES[prefix](name, arguments)
    close = get_close_matches(prefix, SOURCES, n=1, cutoff=0.75)
    if close:
        raise OneBasinError(
            f"unknown architecture {spec!r}; did you mean '{close[0]}:{name}'? Known are "
            f"{', '.join(sorted(builtin))}, and {_FORMS}"
        )
    return callable_recipe(spec, arguments)


def _unknown(spec: str) -> str:
    """Return what is wrong with a word that names no architecture; it may be a path."""
    if os.path.isfile(spec):
        return f"{spec!r} is a file, not an architecture"
    if os.path.isdir(spec):
        return f"{spec!r} is a folder without a config.json, not an architecture"
    if os.sep in spec or "." in spec:
        return f"{spec!r} is not a file, a folder or a known architecture"
    return f"unknown architecture {spec!r}"


def _build(recipe: Recipe, arguments: Mapping[str, Any], device: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.default_generator.manual_seed(seed)
        try:
            return _on_device(_unwrapped(recipe.build()).eval(), device)
        except ArgumentError as error:
            raise OneBasinError(f"{recipe.name}: {error}") from error
        except OneBasinError:
            raise
        # The code of users and other libraries may raise anything.
        except Exception as error:
            raise OneBasinError(_build_failed(recipe, arguments, device, error)) from error


def _unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside the wrappers of `torch.compile`, DataParallel and DDP."""
    while True:
        compiled = module.__dict__.get("_modules", {}).get("_orig_mod")
        if isinstance(compiled, nn.Module):
            module = compiled
        elif isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        else:
            return module


def _on_device(module: nn.Module, device: str) -> nn.Module:
    """Move tensors that ignored the default device; ties between them are lost."""
    tensors = [*module.parameters(), *module.buffers()]
    if all(tensor.device.type == torch.device(device).type for tensor in tensors):
        return module
    return module.to(device)


def _build_failed(
    recipe: Recipe, arguments: Mapping[str, Any], device: str, error: Exception
) -> str:
    given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    building = f"building it with ({given})" if given else "building it"
    what = building if recipe.calling is None else recipe.calling(error)
    call = f"{recipe.name}: {what} raised {one_line(error)}"
    if device == "meta":
        return f"{call} on the meta device; build it on the cpu, or check its arguments"
    return f"{call}; check arch_args=, or fix the callable"


def _name_inputs(specs: Sequence[InputSpec], module: nn.Module) -> tuple[InputSpec, ...]:
    """Name a single unnamed input by the `main_input_name` of the module."""
    main = getattr(module, "main_input_name", None)
    if len(specs) == 1 and specs[0].keyword is None and isinstance(main, str):
        only = specs[0]
        return (InputSpec(only.shape, only.dtype, only.low, only.high, keyword=main),)
    return tuple(specs)
