"""Splits of a data source: examples in memory, or batches of a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from onebasin._random import wrapped
from onebasin._text import one_line
from onebasin.data.examples import as_tensors, first_rows, rows_of, select
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.graph.batches import Batches, Inputs, is_empty, split_batch

BATCH_SIZE = 1000


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Examples in memory or in memory-mapped files.

    Args:
        inputs: a tensor `(n, ...)`, `Pixels`, `Tokens` or `Fields`.
        labels: label of each example, or None.
    """

    inputs: Inputs
    labels: Tensor | Inputs | None = None

    def __post_init__(self) -> None:
        """Check that there is one label for each input."""
        if self.labels is not None and len(self.labels) != len(self.inputs):
            raise ArgumentError(
                f"{len(self.inputs)} inputs but {len(self.labels)} labels; give one label "
                "for each input"
            )
        if not len(self.inputs):
            raise ArgumentError("there are no examples; give at least one")

    @property
    def num_examples(self) -> int:
        """The number of examples."""
        return len(self.inputs)

    @property
    def has_labels(self) -> bool:
        """Whether each example has a label."""
        return self.labels is not None

    def batches(self, batch_size: int = BATCH_SIZE) -> Batches:
        """Return `(inputs, labels)` batches; labels are None for unlabeled data."""
        return Batches(self.inputs, self.labels, batch_size)

    def first(self, number: int) -> Any:
        """Return the inputs of the first examples as one batch."""
        return self.inputs[:number]

    def take(self, number: int, *, seed: int) -> ArraySplit:
        """Return a random subset of the examples, in their order."""
        generator = torch.Generator().manual_seed(wrapped(seed))
        order = torch.randperm(len(self.inputs), generator=generator)
        rows = order[:number].sort().values
        labels = None if self.labels is None else select(self.labels, rows)
        return replace(self, inputs=select(self.inputs, rows), labels=labels)

    def map_inputs(self, change: Callable[[Any], Any]) -> ArraySplit:
        """Return the examples with inputs that are transformed batch by batch."""
        return replace(self, inputs=Mapped(self.inputs, change))


@dataclass(frozen=True, eq=False)
class Mapped:
    """Inputs that are transformed when they are read.

    Args:
        inputs: the original inputs.
        change: function of a batch of inputs.
    """

    inputs: Inputs
    change: Callable[[Any], Any]

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self.inputs)

    def __getitem__(self, rows: Any, /) -> Any:
        """Return some inputs, transformed."""
        return self.change(self.inputs[rows])

    def select(self, rows: Tensor) -> Mapped:
        """Return some of the inputs."""
        return replace(self, inputs=select(self.inputs, rows))


@dataclass(frozen=True, eq=False)
class LoaderSplit:
    """Batches of a loader, such as a DataLoader.

    Args:
        loader: an iterable of batches, see `split_batch`; it can be read more than once.
        name: the name of the loader, for messages.
        limit: number of examples to read; None for all.
        change: function of the inputs of each batch, or None.
    """

    loader: Iterable[Any]
    name: str
    limit: int | None = None
    change: Callable[[Any], Any] | None = None

    @property
    def num_examples(self) -> int | None:
        """The number of examples, or None if unknown."""
        return self.limit

    @property
    def has_labels(self) -> bool:
        """Whether the first batch has labels."""
        return self._first_batch[1] is not None

    def batches(self, batch_size: int = BATCH_SIZE) -> LoaderSplit:
        """Return the batches of the loader; the batch size is ignored."""
        return self

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Yield `(inputs, labels)`."""
        remaining = self.limit
        for number, batch in enumerate(self._read()):
            inputs, labels = self._split(batch, number)
            if remaining is not None:
                size = rows_of(inputs) or 0
                inputs = first_rows(inputs, remaining)
                labels = None if labels is None else first_rows(labels, remaining)
                remaining -= min(remaining, size)
            yield inputs, labels
            if remaining == 0:
                return

    def first(self, number: int) -> Any:
        """Return the inputs of the first examples as one batch."""
        return first_rows(self._first_batch[0], number)

    def take(self, number: int, *, seed: int) -> LoaderSplit:
        """Return the first examples of the loader."""
        return replace(self, limit=number)

    def map_inputs(self, change: Callable[[Any], Any]) -> LoaderSplit:
        """Return the examples with transformed inputs."""
        before = self.change
        after = change if before is None else lambda inputs: change(before(inputs))
        return replace(self, change=after)

    @property
    def _first_batch(self) -> tuple[Any, Any]:
        for batch in self:
            if not is_empty(batch):
                return batch
        raise ArgumentError(f"{self.name} gives no batches; give at least one")

    def _read(self) -> Iterator[Any]:
        try:
            yield from self.loader
        except (OneBasinError, GeneratorExit):
            raise
        # The code of users may raise anything.
        except Exception as error:
            raise ArgumentError(
                f"reading a batch of {self.name} failed ({one_line(error)}); correct the loader"
            ) from error

    def _split(self, batch: Any, number: int) -> tuple[Any, Any]:
        inputs, labels = split_batch(as_tensors(batch))
        if rows_of(inputs) is None:
            raise ArgumentError(
                f"batch {number} of {self.name} is of type {type(batch).__name__}; give "
                "tensors, (inputs, labels), or a mapping of tensors"
            )
        return (inputs if self.change is None else self.change(inputs)), labels


AnySplit: TypeAlias = ArraySplit | LoaderSplit
