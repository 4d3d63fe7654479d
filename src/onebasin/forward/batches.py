"""Batches: data that can be read more than once, and how a model is called on a batch.

Owns the forms in which a user may hand over data, and nothing about losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor
from torch.utils import _pytree as pytree

from onebasin.arguments import described
from onebasin.errors import OneBasinError

IGNORED = -100
"""The label of what does not count, as in `torch.nn.functional.cross_entropy`."""

# Seed of the order of examples, no number that splits are drawn with.
MIXING = 0x6D69786564


@runtime_checkable
class Inputs(Protocol):
    """What inputs may be kept as: a tensor, or whatever gives tensors of some of its rows."""

    def __len__(self) -> int:
        """Return the number of inputs."""
        ...

    def __getitem__(self, rows: Any, /) -> Tensor:
        """Return some of them."""
        ...


@dataclass(frozen=True, eq=False)
class Batches:
    """Inputs and labels cut into batches; can be iterated as often as one likes.

    Args:
        inputs: all inputs.
        labels: all labels, one row for each input.
        batch_size: examples in a batch; the last one may be smaller.
        order: the rows in the order in which they are read; as they come without it.
    """

    inputs: Inputs
    labels: Shaped[Tensor, " n *each"]
    batch_size: int = 1000
    order: Int64[Tensor, " n"] | None = None

    def __post_init__(self) -> None:
        """Check that inputs, labels and batch size fit together."""
        if len(self.inputs) != len(self.labels):
            raise OneBasinError(
                f"batches: {len(self.inputs)} inputs but {len(self.labels)} labels; "
                "there must be one label for each input"
            )
        if self.batch_size < 1:
            raise OneBasinError(f"batches: batch_size is {self.batch_size}; it must be at least 1")

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.inputs) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches in order."""
        for place in range(len(self)):
            yield self.batch(place)

    def batch(self, place: int) -> tuple[Tensor, Tensor]:
        """Return one batch, the same every time."""
        rows = self.rows(place)
        return self.inputs[rows], self.labels[rows]

    def rows(self, place: int) -> slice | Int64[Tensor, " m"]:
        """Return where a batch lies."""
        part = slice(place * self.batch_size, (place + 1) * self.batch_size)
        return part if self.order is None else self.order[part]


def mixed(data: Iterable[Any]) -> Iterable[Any]:
    """Return batches with their examples mixed, each time in the same way.

    Statistics of a batch are those of the data only where its examples are any; files are
    often sorted by class.

    Args:
        data: `Batches`; other iterables are left as they are.
    """
    if not isinstance(data, Batches):
        return data
    generator = torch.Generator().manual_seed(MIXING)
    return replace(data, order=torch.randperm(len(data.inputs), generator=generator))


def readable(data: Iterable[Any], name: str) -> Iterable[Any]:
    """Return data that can be read.

    Args:
        data: an iterable of batches.
        name: what the data is to the caller, for the message.

    Raises:
        OneBasinError: when it is something else, None for example.
    """
    try:
        iter(data)
    except TypeError as error:
        raise OneBasinError(
            f"{name}: the data is {described(data)}; pass a list of batches or a DataLoader"
        ) from error
    return data


def rereadable(data: Iterable[Any], name: str) -> Iterable[Any]:
    """Return data that is read more than once.

    Args:
        data: an iterable of batches.
        name: what the data is to the caller, for the message.

    Raises:
        OneBasinError: when it is an iterator, which is empty after its first reading, or
            nothing that can be read at all.
    """
    if iter(readable(data, name)) is data:
        raise OneBasinError(
            f"{name}: the data is an iterator that can be read only once; pass a list of batches "
            "or a DataLoader"
        )
    return data


def inputs_of(batch: Any) -> Any:
    """Return the inputs of a batch that is `(inputs, labels)` or the inputs alone."""
    return batch[0] if isinstance(batch, tuple | list) else batch


def is_empty(batch: Any) -> bool:
    """Tell whether a batch has no examples: the first tensor of its inputs has no rows."""
    leaves = pytree.tree_leaves(inputs_of(batch))
    first = next((leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()), None)
    return first is not None and not len(first)


def device_of(model: torch.nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer."""
    tensors = (tensor for source in (model.parameters(), model.buffers()) for tensor in source)
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def call_on(function: Callable[..., Any], inputs: Any, device: torch.device) -> Any:
    """Call a model on the inputs of a batch.

    Args:
        function: the model, or a function that stands for it.
        inputs: a tensor (the one argument), a tuple (positional arguments) or a mapping
            (keyword arguments).
        device: where tensors are moved to first.
    """
    args, kwargs = arguments_of(inputs, device)
    return function(*args, **kwargs)


def arguments_of(inputs: Any, device: torch.device) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and keyword arguments that the inputs of a batch stand for.

    Args:
        inputs: a tensor (the one argument), a tuple (positional arguments) or a mapping
            (keyword arguments).
        device: where tensors are moved to.
    """
    if isinstance(inputs, Mapping):
        return (), {name: _to(value, device) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(_to(value, device) for value in inputs), {}
    return (_to(inputs, device),), {}


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def output_of(output: Any) -> Tensor:
    """Return the tensor that counts of a model's output: itself, `.logits` or the first.

    Raises:
        OneBasinError: when there is no such tensor.
    """
    logits = output.get("logits") if isinstance(output, Mapping) else None
    if logits is None:
        logits = getattr(output, "logits", None)
    if logits is None and isinstance(output, tuple | list) and output:
        logits = output[0]
    found = output if logits is None else logits
    if not isinstance(found, Tensor):
        raise OneBasinError(
            f"evaluator: the model returned {type(output).__name__}, expected a tensor, a tuple "
            "that starts with one, or an object with .logits; pass your own evaluate function"
        )
    return found
