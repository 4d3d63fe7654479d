"""Batches of data that can be read repeatedly, and calls of a model on a batch.

Defines the accepted forms of a batch; losses are elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Int64, Shaped
from torch import Tensor
from torch.utils import _pytree as pytree

from onebasin._checks import LABEL_KEYS, described, named_tensors
from onebasin.errors import ArgumentError

IGNORE_INDEX = -100
"""The label of ignored positions, as in `torch.nn.functional.cross_entropy`."""

# Random seed of the order of examples; splits use other seeds.
SHUFFLE_SEED = 0x6D69786564


@runtime_checkable
class Inputs(Protocol):
    """Interface of inputs: a tensor, or an object that returns tensors of some of its rows."""

    def __len__(self) -> int:
        """Return the number of inputs."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Return some inputs: a tensor, or a tuple or mapping of tensors."""
        ...


@dataclass(frozen=True, eq=False)
class Batches:
    """Inputs and labels in batches; can be iterated repeatedly.

    Args:
        inputs: all inputs.
        labels: all labels, a row for each input; None for unlabeled data.
        batch_size: examples in a batch; the last one may be smaller.
        order: order of the rows; None for the given order.
    """

    inputs: Inputs
    labels: Shaped[Tensor, " n *each"] | Inputs | None
    batch_size: int = 1000
    order: Int64[Tensor, " n"] | None = None

    def __post_init__(self) -> None:
        """Check that inputs, labels and batch size fit together."""
        if self.labels is not None and len(self.inputs) != len(self.labels):
            raise ArgumentError(
                f"{len(self.inputs)} inputs but {len(self.labels)} labels; "
                "there must be one label for each input"
            )
        if self.batch_size < 1:
            raise ArgumentError(f"batch_size is {self.batch_size}; it must be at least 1")

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.inputs) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield the batches in order."""
        for number in range(len(self)):
            yield self.batch(number)

    def batch(self, number: int) -> tuple[Any, Any]:
        """Return inputs and labels (or None) of one batch; repeated reads are equal."""
        rows = self.rows(number)
        return self.inputs[rows], None if self.labels is None else self.labels[rows]

    def rows(self, number: int) -> slice | Int64[Tensor, " m"]:
        """Return the range of rows of a batch."""
        part = slice(number * self.batch_size, (number + 1) * self.batch_size)
        return part if self.order is None else self.order[part]


def shuffled(data: Iterable[Any], *, seed: int = SHUFFLE_SEED) -> Iterable[Any]:
    """Return batches with their examples in a fixed random order.

    Files are often sorted by class. Batches of random examples have the statistics of all data.

    Args:
        data: `Batches`; other iterables are returned unchanged.
        seed: random seed of the order.
    """
    if not isinstance(data, Batches):
        return data
    generator = torch.Generator().manual_seed(seed)
    return replace(data, order=torch.randperm(len(data.inputs), generator=generator))


def as_iterable(data: Iterable[Any]) -> Iterable[Any]:
    """Return data that can be iterated.

    Args:
        data: an iterable of batches.

    Raises:
        OneBasinError: the data have another type, such as None.
    """
    if isinstance(data, Tensor):
        raise ArgumentError(
            f"the data is one tensor of shape {tuple(data.shape)}; pass a list of batches, "
            "such as [(inputs, labels)], or a DataLoader"
        )
    if isinstance(data, Mapping):
        raise ArgumentError(
            f"the data is one {type(data).__name__}; pass a list of batches, such as "
            "[batch], or a DataLoader"
        )
    try:
        iter(data)
    except TypeError as error:
        raise ArgumentError(
            f"the data is {described(data)}; pass a list of batches or a DataLoader"
        ) from error
    return data


def as_reiterable(data: Iterable[Any]) -> Iterable[Any]:
    """Return data that can be iterated repeatedly.

    Args:
        data: an iterable of batches.

    Raises:
        OneBasinError: the data are an iterator, which is empty after the first reading, or cannot
            be iterated.
    """
    if iter(as_iterable(data)) is data:
        raise ArgumentError(
            "the data is an iterator that can be read only once; pass a list of batches "
            "or a DataLoader"
        )
    return data


def split_batch(batch: Any) -> tuple[Any, Any]:
    """Return inputs and labels of a batch; labels are None if it has none.

    Args:
        batch: `(inputs, labels)`, the inputs alone (a tensor or a tuple of one), or a mapping
            whose entry `labels` (or `label`) holds the labels and whose other entries are
            keyword arguments. Labels of a mapping that repeat its `input_ids` follow the
            convention of transformers: they are shifted, each position predicts the next token.

    Raises:
        OneBasinError: the batch is a tuple of three or more.

    Examples:
        >>> split_batch({"x": 1, "labels": 2})
        ({'x': 1}, 2)
        >>> split_batch((1, 2))
        (1, 2)
    """
    if isinstance(batch, Mapping):
        name = next((name for name in LABEL_KEYS if name in batch), None)
        inputs = {key: value for key, value in batch.items() if key != name}
        return inputs, None if name is None else _shifted(inputs, batch[name])
    if not isinstance(batch, tuple | list):
        return batch, None
    if not 1 <= len(batch) <= 2:
        raise ArgumentError(
            f"a batch has {len(batch)} entries; pass (inputs, labels), where the inputs may "
            "be a tuple of positional arguments or a mapping of keyword arguments"
        )
    return batch[0], batch[1] if len(batch) == 2 else None


def _shifted(inputs: Mapping[str, Any], labels: Any) -> Any:
    """Return labels that repeat the input tokens as those of the next position."""
    ids = inputs.get("input_ids")
    if not (isinstance(ids, Tensor) and isinstance(labels, Tensor)):
        return labels
    if ids.shape != labels.shape or ids.ndim != 2 or ids.dtype != labels.dtype:
        return labels
    counted = labels != IGNORE_INDEX
    if not bool(counted.any()) or not torch.equal(labels[counted], ids[counted]):
        return labels
    return F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)


def inputs_of(batch: Any) -> Any:
    """Return the inputs of a batch; see `split_batch`."""
    return split_batch(batch)[0]


def labels_of(batch: Any, number: int) -> Tensor:
    """Return the labels of a batch.

    Args:
        batch: see `split_batch`.
        number: index of the batch, for messages.

    Raises:
        OneBasinError: the batch has no labels.
    """
    labels = split_batch(batch)[1]
    if labels is None:
        raise ArgumentError(
            f"batch {number} of the data ({type(batch).__name__}) has no labels; pass "
            "(inputs, labels) or a mapping with 'labels'"
        )
    return torch.as_tensor(labels)


def num_examples(batch: Any) -> int | None:
    """Return the number of rows of the first tensor of the inputs of a batch; None without one."""
    leaves = pytree.tree_leaves(inputs_of(batch))
    first = next((leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()), None)
    return None if first is None else len(first)


def is_empty(batch: Any) -> bool:
    """Return whether a batch has no examples."""
    return num_examples(batch) == 0


def device_of(model: torch.nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer."""
    return next((tensor.device for _, tensor in named_tensors(model)), torch.device("cpu"))


def dtype_of(model: torch.nn.Module) -> torch.dtype | None:
    """Return the dtype of a model's first floating-point tensor; None for 8-bit floats."""
    floating = (t for _, t in named_tensors(model) if t.is_floating_point())
    first = next((tensor.dtype for tensor in floating), None)
    return None if first is None or first.itemsize < 2 else first


def run_model(model: torch.nn.Module, inputs: Any) -> Any:
    """Run a model on the inputs of a batch, moved to its device and floating-point dtype.

    Args:
        model: the module.
        inputs: see `call_on`.
    """
    return call_on(model, inputs, device_of(model), dtype_of(model))


def call_on(
    function: Callable[..., Any],
    inputs: Any,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> Any:
    """Call a model on the inputs of a batch.

    Args:
        function: the model, or a function of the same arguments.
        inputs: a tensor (the one argument), a tuple (positional arguments) or a mapping
            (keyword arguments).
        device: device that tensors are moved to.
        dtype: dtype of floating-point tensors; None keeps their dtype.
    """
    args, kwargs = arguments_of(inputs, device, dtype)
    return function(*args, **kwargs)


def arguments_of(
    inputs: Any, device: torch.device, dtype: torch.dtype | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the inputs of a batch as positional and keyword arguments.

    Args:
        inputs: a tensor (the one argument), a tuple (positional arguments) or a mapping
            (keyword arguments).
        device: device that tensors are moved to.
        dtype: dtype of floating-point tensors; None keeps their dtype.
    """
    if isinstance(inputs, Mapping):
        return (), {name: _to(value, device, dtype) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(_to(value, device, dtype) for value in inputs), {}
    return (_to(inputs, device, dtype),), {}


def _to(value: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(device, dtype if value.is_floating_point() else None)


def output_of(output: Any) -> Tensor:
    """Return the main tensor of the output of a model: itself, `.logits` or the first.

    Raises:
        OneBasinError: the output has no tensor.
    """
    logits = output.get("logits") if isinstance(output, Mapping) else None
    if logits is None:
        logits = getattr(output, "logits", None)
    if logits is None and isinstance(output, tuple | list) and output:
        logits = output[0]
    tensor = output if logits is None else logits
    if not isinstance(tensor, Tensor):
        raise ArgumentError(
            f"the model returned {type(output).__name__}, expected a tensor, a tuple "
            "that starts with one, or an object with .logits; pass your own evaluate function"
        )
    return tensor
