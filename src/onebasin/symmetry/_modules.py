"""Access to a module without changing it: clones, outputs, tied tensors and state dicts.

A forward pass may modify attributes, caches and training flags. A shallow clone has its
own attributes and shares only the tensors.

Inference and verification share this selection. Caches are excluded because fixing their
layouts would fix the model's hidden units.

Tensors are compared by storage, offset, shape and strides. Different tensor objects over
the same memory are tied.

A state dict can differ from the parameters and buffers: hooks rename entries, extra state
adds entries that are not tensors, and a module can omit a frozen part.
"""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from itertools import combinations
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from onebasin._checks import named_tensors
from onebasin.errors import ArgumentError

FRAMES = 25
"""Python frames per level of modules when a model is copied or exported."""

MAX_DEPTH = 500
"""Deeper models could overflow the stack of the process."""


@contextmanager
def raised_recursion_limit(model: nn.Module) -> Iterator[None]:
    """Raise the recursion limit according to the nesting of a model's modules.

    Args:
        model: the model.

    Raises:
        OneBasinError: when modules are nested more than `MAX_DEPTH` levels deep.
    """
    limit = sys.getrecursionlimit()
    try:
        depth = max(name.count(".") for name, _ in model.named_modules())
    except RecursionError:
        depth = limit
    if depth > MAX_DEPTH:
        raise ArgumentError(
            f"modules of {type(model).__name__} are nested too deeply (got {depth} levels,"
            f" limit {MAX_DEPTH}); flatten the model"
        )
    try:
        sys.setrecursionlimit(limit + FRAMES * depth)
        yield
    finally:
        sys.setrecursionlimit(limit)


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
    if value is None or type(value) in CONSTANTS or isinstance(value, CONSTANTS):
        return True
    if type(value) in (list, tuple, set):
        return all(isinstance(entry, CONSTANTS) for entry in value)
    return type(value) in (dict, OrderedDict) and not value


CACHES = frozenset({"past_key_values", "past_key_value", "cache_params", "past_buckets_states"})
MODEL_OUTPUT_CACHES = CACHES | {"state", "states", "mems", "memory", "rnn_state", "cache"}


def select_outputs(output: object, outputs: Callable[[Any], object] | None = None) -> list[Tensor]:
    """Return the selected tensors of a model's output, in a fixed order.

    By default all tensors in mappings, sequences, dataclasses and registered pytree nodes
    are selected, except caches: the usual cache entries of a `transformers` model output,
    and objects whose class name ends with `Cache`.

    Args:
        output: return value of the model.
        outputs: custom selection, a function from the model's return value to a pytree of
            tensors; all its tensors are selected.

    Example:
        >>> import torch
        >>> logits, cache = torch.zeros(2, 3), torch.zeros(2, 8)
        >>> [x.shape[1] for x in select_outputs({"logits": logits, "past_key_values": cache})]
        [3]
        >>> [x.shape[1] for x in select_outputs((logits, cache), outputs=lambda out: out[1])]
        [8]
    """
    if outputs is not None:
        return [leaf for leaf in tree_leaves(outputs(output)) if isinstance(leaf, Tensor)]
    return list(_tensors(output))


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif _is_named(value, "Cache"):
        return
    elif isinstance(value, Mapping):
        caches = MODEL_OUTPUT_CACHES if _is_named(value, "ModelOutput") else CACHES
        for key, entry in value.items():
            if key not in caches:
                yield from _tensors(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            if field.name not in CACHES:
                yield from _tensors(getattr(value, field.name))
    else:
        yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _is_named(value: object, ending: str) -> bool:
    return any(base.__name__.endswith(ending) for base in type(value).__mro__)


def tied_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the first name of a tied tensor, for each of its other names.

    Args:
        state: all parameters and buffers by name, on any device including meta.
    """
    first: dict[Hashable, str] = {}
    aliases = {}
    for name, tensor in state.items():
        kept = first.setdefault(_identity(tensor), name)
        if kept != name:
            aliases[name] = kept
    return aliases


def overlaps(state: Mapping[str, Tensor]) -> Iterator[tuple[str, str, tuple[int, ...] | None]]:
    """Yield pairs of different tensors whose memory overlaps.

    Args:
        state: as in `tied_names`, without aliases.

    Yields:
        Two names. If one tensor is a transpose of the other, also the matching dimension of
        the second for each dimension of the first, else None.
    """
    together: defaultdict[Hashable, list[str]] = defaultdict(list)
    for name, tensor in state.items():
        if (storage := storage_of(tensor)) is not None and tensor.numel():
            together[storage].append(name)
    for names in together.values():
        for a, b in combinations(names, 2):
            (low_a, high_a), (low_b, high_b) = _span(state[a]), _span(state[b])
            if low_a < high_b and low_b < high_a:
                yield a, b, _transposition(state[a], state[b])


def _identity(tensor: Tensor) -> Hashable:
    storage = storage_of(tensor)
    if storage is None or not tensor.numel():
        return id(tensor)
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def memory_of(tensor: Tensor) -> Hashable:
    """Return a key for the memory of a tensor; equal keys mean the same entries.

    It does not depend on the storage object: two tensors read from one memory-mapped file
    have equal keys. The tensor must be alive.
    """
    place = tensor.data_ptr() or id(tensor)
    return place, tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def storage_of(tensor: Tensor) -> int | None:
    """Return an identifier of the storage of a tensor, or None if it has none."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return None


def _span(tensor: Tensor) -> tuple[int, int]:
    """Return the byte range of a tensor in its storage, end exclusive."""
    low = int(tensor.storage_offset())
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    high = low + sum((size - 1) * stride for size, stride in steps) + 1
    return low * tensor.element_size(), high * tensor.element_size()


def _transposition(a: Tensor, b: Tensor) -> tuple[int, ...] | None:
    if a.dtype != b.dtype or a.storage_offset() != b.storage_offset():
        return None
    places = {axis: i for i, axis in enumerate(zip(b.shape, b.stride(), strict=True))}
    axes = list(zip(a.shape, a.stride(), strict=True))
    if len(places) != b.dim() or set(axes) != set(places) or a.dim() != b.dim():
        return None
    return tuple(places[axis] for axis in axes)


@dataclass(frozen=True)
class ModelState:
    """The saved tensors of a model and their names.

    Args:
        tensors: every tensor of the state dict, by its name in the state dict.
        state_names: the name in the state dict of each saved parameter and buffer, by its
            name in the module.
        parameters: names in `tensors` that are parameters.
    """

    tensors: Mapping[str, Tensor]
    state_names: Mapping[str, str]
    parameters: frozenset[str]


def model_state(model: nn.Module) -> ModelState:
    """Return the state of a model, with its own tensors rather than copies.

    An entry that is neither a parameter nor a buffer, such as the result of a hook, has no
    name in the module.

    Example:
        >>> state = model_state(nn.BatchNorm1d(2))
        >>> sorted(state.tensors)
        ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
        >>> sorted(state.parameters)
        ['bias', 'weight']
    """
    own = dict(named_tensors(model))
    tensors = {
        name: own[name] if name in own and _is_copy(value, own[name]) else value
        for name, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }
    by_id: dict[int, str] = {}
    for name, tensor in tensors.items():
        by_id.setdefault(id(tensor), name)
    state_names = {
        name: name if tensors.get(name) is tensor else by_id[id(tensor)]
        for name, tensor in own.items()
        if id(tensor) in by_id
    }
    parameters = {id(tensor) for tensor in model.parameters()}
    saved = frozenset(name for name, tensor in tensors.items() if id(tensor) in parameters)
    return ModelState(tensors, state_names, saved)


def _is_copy(value: Tensor, own: Tensor) -> bool:
    """Whether a state dict entry is a clone or a detached alias of the module's tensor."""
    if value is own:
        return True
    if value.shape != own.shape or value.dtype != own.dtype or value.is_meta or own.is_meta:
        return False
    return torch.equal(value.detach(), own.detach())
