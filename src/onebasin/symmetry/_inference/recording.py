"""Recordings of forward passes: the sequence of called functions and their tensors.

Recording uses tensors without values, so it costs a small fraction of an export. A model that
reads values, for example with `Tensor.item`, is recorded on copies of its tensors. Recordings
at different input shapes show whether the shapes change the behavior of the model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from onebasin._checks import named_tensors
from onebasin.symmetry._inference.cuts import (
    RESHAPES,
    Cut,
    Parts,
    PartsBySize,
    cuts_of,
    parts_of_result,
)
from onebasin.symmetry._modules import shallow_clone

NEEDS_VALUES = (
    NotImplementedError,
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
"""Errors of operators that require tensors with values."""

SIZES = frozenset({"shape", "size", "numel", "nelement", "__len__"})
"""Functions and properties that return sizes."""


class _TooManyCalls(Exception):
    """Raised to stop a recording that exceeds the maximum number of calls."""


@dataclass(frozen=True)
class Origin:
    """Origin of a tensor.

    Args:
        label: equal for corresponding tensors of two recordings that agree so far.
        state: names of the parameters and buffers that it depends on.
        depends_on_inputs: whether it depends on an input of the model.
        parts: partition of its dimensions into concatenated parts.
        hidden: partitions of dimensions that a reshape has merged with others.
    """

    label: tuple[Any, ...]
    state: frozenset[str] = frozenset()
    depends_on_inputs: bool = False
    parts: PartsBySize = field(default_factory=dict)
    hidden: frozenset[Parts] = frozenset()


OUTSIDE = Origin(("outside",))
"""A tensor that is neither state nor input nor the result of a recorded call."""


@dataclass(frozen=True)
class RecordedCall:
    """One call of a PyTorch function.

    Args:
        name: name of the function.
        operands: origins of its tensor arguments.
        shapes: shapes of its tensor arguments.
        others: all other arguments, including the structure of lists and slices.
        floating: whether its first result is floating-point.
        results: shapes of its results.
        cuts: ranges of positions that it reads from its first operand.
    """

    name: str
    operands: tuple[Origin, ...]
    shapes: tuple[tuple[int, ...], ...]
    others: tuple[Any, ...]
    floating: bool
    results: tuple[tuple[int, ...], ...]
    cuts: tuple[Cut, ...] = ()

    @property
    def state(self) -> frozenset[str]:
        """Names of the parameters and buffers that its operands depend on."""
        return frozenset().union(*(origin.state for origin in self.operands))


class CallRecorder:
    """Records forward passes of one model.

    Args:
        model: the model, on any device; it is not changed.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._tensors = model, dict(named_tensors(model))
        self._first: dict[int, str] = {}
        for name, tensor in self._tensors.items():
            self._first.setdefault(id(tensor), name)
        self._backends = [_meta_backend(), _fake_backend()]
        if not any(tensor.is_meta for tensor in self._tensors.values()):
            self._backends.append(_value_backend())
        self._accepted = False
        self.reads_sizes = False
        """Whether a recorded pass reads the shape of a tensor."""

    def record(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, max_calls: int = sys.maxsize
    ) -> list[RecordedCall] | None:
        """Return the calls of one forward pass, or None if it fails or has too many calls.

        Later inputs use the backend that the first inputs needed, or a slower one if only the
        values are missing. Any other failure means that the model rejects the inputs.
        """
        for i, backend in enumerate(self._backends):
            try:
                calls = self._record(backend, args, kwargs, max_calls)
            except Exception as error:  # the user's code failed, or an operator needs values
                if self._accepted and not _needs_values(error):
                    return None
                continue
            if not self._accepted:
                self._accepted, self._backends = True, self._backends[i:]
            return calls
        return None

    def _record(
        self,
        backend: _Backend,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        max_calls: int,
    ) -> list[RecordedCall]:
        by_id = {id(t): backend.state_of(t) for t in self._tensors.values()}
        tensors = {name: by_id[id(t)] for name, t in self._tensors.items()}
        inputs = pytree.tree_map_only(Tensor, backend.convert, (args, dict(kwargs)))
        recorder = _Recorder(self._origins(by_id, inputs), backend, max_calls)
        with (
            shallow_clone(self._model) as own,
            torch.no_grad(),
            exporting(),
            backend.mode,
            recorder,
        ):
            torch.func.functional_call(own, tensors, *inputs)
        self.reads_sizes |= recorder.reads_sizes
        return recorder.calls

    def _origins(self, by_id: Mapping[int, Tensor], inputs: Any) -> Iterator[tuple[Tensor, Origin]]:
        for tensor in self._tensors.values():
            name = self._first[id(tensor)]
            origin = Origin(("state", name), frozenset([name]))
            yield by_id[id(tensor)], origin
            yield tensor, origin  # forward may reach a parameter through a closure or a list
        leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
        for i, leaf in enumerate(leaves):
            yield leaf, Origin(("input", i), depends_on_inputs=True)


@dataclass(frozen=True)
class _Backend:
    """A way to run a model without changing its tensors.

    Args:
        convert: returns a tensor with the shape and dtype of a given one.
        mode: the context to run in.
        has_values: whether the tensors have values.
        known: converted parameters and buffers by `id`.
    """

    convert: Callable[[Tensor], Tensor]
    mode: AbstractContextManager[Any]
    has_values: bool = False
    known: dict[int, Tensor] = field(default_factory=dict)

    def state_of(self, tensor: Tensor) -> Tensor:
        """Return the replacement of a parameter or buffer."""
        if self.has_values:  # an earlier pass may have modified it
            return self.convert(tensor.detach())
        if id(tensor) not in self.known:
            self.known[id(tensor)] = self.convert(tensor.detach())
        return self.known[id(tensor)]


def _meta_backend() -> _Backend:
    return _Backend(lambda tensor: torch.empty_like(tensor, device="meta"), nullcontext())


def _fake_backend() -> _Backend:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    return _Backend(mode.from_tensor, mode)


def _value_backend() -> _Backend:
    return _Backend(lambda tensor: tensor.detach().clone(), nullcontext(), has_values=True)


def _needs_values(error: Exception) -> bool:
    """Whether a forward pass failed because its tensors have no values."""
    return isinstance(error, NEEDS_VALUES) or "meta" in str(error).lower()


@contextmanager
def exporting() -> Iterator[None]:
    """Make the model take the same paths as under `torch.export`."""
    flags = torch.compiler._is_compiling_flag, torch.compiler._is_exporting_flag
    try:
        torch.compiler._is_compiling_flag = torch.compiler._is_exporting_flag = True
        yield
    finally:
        torch.compiler._is_compiling_flag, torch.compiler._is_exporting_flag = flags


class _Recorder(TorchFunctionMode):
    """Records every call of a PyTorch function that takes or returns tensors."""

    def __init__(
        self, origins: Iterator[tuple[Tensor, Origin]], backend: _Backend, max_calls: int
    ) -> None:
        super().__init__()
        self._max_calls = max_calls
        self._has_values = backend.has_values
        self.calls: list[RecordedCall] = []
        self.reads_sizes = False
        self._origins: dict[int, Origin] = {}
        self._kept: list[Tensor] = []  # ids are unique only while the tensors are alive
        for tensor, origin in origins:
            self._set(tensor, origin)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors, others = _flatten((args, kwargs))
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        name = name_of(func)
        self.reads_sizes |= name in SIZES
        result = None if self._has_values else quick_result(name, args, kwargs)
        result = func(*args, **kwargs) if result is None else result
        returned = _flatten(result)[0]
        if returned or name == "__setitem__":
            self._note(name, tensors, shapes, others, returned)
        return result

    def _note(
        self,
        name: str,
        tensors: list[Tensor],
        shapes: tuple[tuple[int, ...], ...],
        others: list[Any],
        returned: list[Tensor],
    ) -> None:
        operands = tuple(self._origins.get(id(tensor), OUTSIDE) for tensor in tensors)
        results = tuple(tuple(tensor.shape) for tensor in returned)
        floating = bool(returned) and returned[0].is_floating_point()
        parts = [origin.parts for origin in operands]
        cuts = cuts_of(name, shapes[0], others, results, parts[0]) if shapes else ()
        call = RecordedCall(name, operands, shapes, tuple(others), floating, results, cuts)
        depends = any(origin.depends_on_inputs for origin in operands)
        written = returned if name != "__setitem__" else tensors[:1]
        for i, tensor in enumerate(written):
            joined = parts_of_result(name, shapes, tensor.shape, parts, cuts, others)
            hidden = frozenset[Parts]().union(*(origin.hidden for origin in operands))
            if name in RESHAPES:
                lost = (
                    way
                    for own in parts
                    for n, ways in own.items()
                    if n not in joined
                    for way in ways
                )
                hidden |= frozenset(lost)
            origin = Origin((len(self.calls), i), call.state, depends, joined, hidden)
            self._set(tensor, origin)
        self.calls.append(call)
        if len(self.calls) > self._max_calls:
            raise _TooManyCalls

    def _set(self, tensor: Tensor, origin: Origin) -> None:
        self._origins[id(tensor)] = origin
        self._kept.append(tensor)


def quick_result(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """Return a result without values of a function that is slow without values.

    Without values, PyTorch runs batch norm and interpolation as many Python functions.

    Args:
        name: name of the function.
        args, kwargs: its arguments.

    Returns:
        The result; None for other functions and for unusual arguments.
    """
    if name == "batch_norm":
        first, *channels = _flatten((args, kwargs))[0]
        fits = first.dim() > 1 and all(t.shape == first.shape[1:2] for t in channels)
        return torch.empty_like(first) if fits else None
    return _resized_image(*args, **kwargs) if name == "interpolate" else None


def _resized_image(input: Tensor, size: Any = None, *others: Any, **options: Any) -> Tensor | None:
    """Return a tensor without values of another size, or None if the size is unusual."""
    dims = input.dim() - 2
    sizes = list(size) if isinstance(size, tuple | list) else [size] * dims
    fits = len(sizes) == dims > 0 and all(isinstance(n, int | torch.SymInt) for n in sizes)
    if not fits:
        return None
    result = input.new_empty((*input.shape[:2], *sizes))
    channels_last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(dims)
    if channels_last is None or input.is_contiguous():
        return result
    is_last = input.is_contiguous(memory_format=channels_last)
    return result.contiguous(memory_format=channels_last) if is_last else result


def name_of(func: Any) -> str:
    """Return the name of a function; for a property, the name of its attribute."""
    name = getattr(func, "__name__", str(func))
    owner = getattr(func, "__self__", None)
    return getattr(owner, "__name__", name) if name == "__get__" else name


def _flatten(value: Any) -> tuple[list[Tensor], list[Any]]:
    """Return the tensors of nested arguments, and the other arguments in a comparable form."""
    tensors: list[Tensor] = []
    others: list[Any] = []
    _collect(value, tensors, others)
    return tensors, others


def _collect(value: Any, tensors: list[Tensor], others: list[Any]) -> None:
    if isinstance(value, Tensor):
        tensors.append(value)
        others.append(Tensor)
    elif isinstance(value, tuple | list):
        others += [list] if isinstance(value, list) else []
        others.append(len(value))
        for item in value:
            _collect(item, tensors, others)
    elif isinstance(value, dict):
        others.append(tuple(value))
        for item in value.values():
            _collect(item, tensors, others)
    elif isinstance(value, slice):
        others.append(slice)
        _collect((value.start, value.stop, value.step), tensors, others)
    elif value is None or isinstance(value, bool | int | float | complex | str):
        others.append(value)
    else:
        others.append(type(value).__name__)
