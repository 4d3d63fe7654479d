"""Data of any source in one form, for matching, repair and evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from torch import Tensor

from onebasin.data._example_splits import BATCH_SIZE, AnySplit, ArraySplit
from onebasin.data.dataset import Dataset
from onebasin.data.examples import MaskedTokens, NextTokens, Tokens
from onebasin.errors import OneBasinError

Task: TypeAlias = Literal["classification", "next token"]
SplitName: TypeAlias = Literal["train", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """Examples with optional labels and an optional test split.

    Args:
        name: the source, for reports.
        train: the training split.
        test: the test split, or None.
        task: meaning of the labels; None for unlabeled data.
        num_classes: number of classes, or None if unknown.
        normalization: normalization of pixel values in words, or None if unknown.
        class_names: name of each class, or empty.

    Examples:
        >>> import torch
        >>> data = Data("toy", ArraySplit(torch.randn(6, 2)))
        >>> data.has_labels("train"), data.input_shape
        (False, (2,))
    """

    name: str
    train: AnySplit
    test: AnySplit | None = None
    task: Task | None = None
    num_classes: int | None = None
    normalization: str | None = None
    class_names: tuple[str, ...] = ()

    @classmethod
    def from_dataset(cls, dataset: Dataset, normalization: str | None = None) -> Data:
        """Return the data of a `Dataset`."""
        inputs = [dataset.train_examples, dataset.test_examples]
        tokens = [MaskedTokens(e) if isinstance(e, Tokens) else e for e in inputs]
        return cls(
            dataset.name,
            ArraySplit(tokens[0], dataset.train_labels),
            ArraySplit(tokens[1], dataset.test_labels),
            "classification",
            dataset.num_classes,
            normalization,
            dataset.class_names,
        )

    def split(self, name: SplitName) -> AnySplit:
        """Return a split.

        Raises:
            OneBasinError: the data have no test split.
        """
        split = self.train if name == "train" else self.test
        if split is None:
            raise OneBasinError(
                f"data: {self.name} has no test split; pass split='train', or add test examples"
            )
        return split

    def splits(self, wanted: Sequence[str] = SPLITS) -> tuple[SplitName, ...]:
        """Return the wanted splits that exist."""
        known = SPLITS if self.test is not None else SPLITS[:1]
        return tuple(name for name in known if name in wanted)

    def has_labels(self, split: SplitName) -> bool:
        """Return whether the examples of a split have labels."""
        return self.split(split).has_labels

    def batches(self, split: SplitName = "train", batch_size: int = BATCH_SIZE) -> Iterable[Any]:
        """Return `(inputs, labels)` batches that can be read again; labels may be None."""
        return self.split(split).batches(batch_size)

    def num_examples(self, split: SplitName = "train") -> int | None:
        """Return the number of examples of a split; None for a loader."""
        return self.split(split).num_examples

    def example_inputs(self, number: int = 2) -> Any:
        """Return the inputs of the first examples: a tensor, a tuple or a mapping."""
        return self.train.first(number)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of one example; None for several tensors."""
        inputs = self.example_inputs(1)
        return tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) else None

    @property
    def tokens(self) -> Tokens | None:
        """The training texts as tokens; None for other data."""
        return _tokens_of(self.train)

    def take(self, max_train_examples: int | None, *, seed: int = 0) -> Data:
        """Return the data with some of the training examples; None keeps all.

        Args:
            max_train_examples: number of training examples.
            seed: random seed of the choice; a loader gives its first examples instead.

        Raises:
            OneBasinError: there are fewer examples.
        """
        if max_train_examples is None:
            return self
        known = self.train.num_examples
        if known is not None and max_train_examples > known:
            raise OneBasinError(
                f"data: subset of {max_train_examples} train examples of {self.name}; it has "
                f"{known}"
            )
        return replace(self, train=self.train.take(max_train_examples, seed=seed))

    def layouts(self) -> Iterator[Data]:
        """Yield the data in every form that a model may take, the stored one first."""
        yield self
        example = self.example_inputs(1)
        if isinstance(example, Tensor):
            shape = image_shape(tuple(example.shape[1:]), example.is_floating_point())
            if shape is not None:
                yield self._with_inputs(lambda inputs: inputs.reshape(len(inputs), *shape))
        elif isinstance(example, Mapping):
            if "input_ids" in example:
                yield self._with_inputs(lambda inputs: inputs["input_ids"])
            elif len(example) == 1:
                yield self._with_inputs(lambda inputs: next(iter(inputs.values())))

    def as_next_token(self) -> Data:
        """Return texts with the next token as the label of each token.

        Raises:
            OneBasinError: the data are not texts.
        """
        splits: dict[str, AnySplit] = {}
        for name in self.splits():
            split = self.split(name)
            tokens = _tokens_of(split)
            if tokens is None or not isinstance(split, ArraySplit):
                raise OneBasinError(f"data: {self.name} has no texts; a language model needs some")
            splits[name] = replace(split, labels=NextTokens(tokens))
        return replace(
            self,
            train=splits["train"],
            test=splits.get("test"),
            task="next token",
            num_classes=None,
            class_names=(),
        )

    def _with_inputs(self, change: Callable[[Any], Any]) -> Data:
        test = None if self.test is None else self.test.map_inputs(change)
        return replace(self, train=self.train.map_inputs(change), test=test)

    def __repr__(self) -> str:
        return f"Data({', '.join(f'{name}={value!r}' for name, value in self.to_json().items())})"

    def to_json(self) -> dict[str, Any]:
        """Return a description of the data as plain JSON values."""
        return {
            "name": self.name,
            "task": self.task,
            "normalize": self.normalization,
            "train_examples": self.train.num_examples,
            "test_examples": None if self.test is None else self.test.num_examples,
        }


def image_shape(shape: tuple[int, ...], is_floating: bool) -> tuple[int, int, int] | None:
    """Return the shape of flat inputs or inputs without channels as an image, or None.

    Example:
        >>> image_shape((64,), True)
        (1, 8, 8)
    """
    if len(shape) == 2 and is_floating:
        return (1, *shape)
    side = math.isqrt(math.prod(shape))
    if len(shape) == 1 and is_floating and side * side == shape[0]:
        return (1, side, side)
    return None


def _tokens_of(split: AnySplit) -> Tokens | None:
    """Return the tokens of a split in any form, or None."""
    inputs = split.inputs if isinstance(split, ArraySplit) else None
    while hasattr(inputs, "inputs"):
        inputs = inputs.inputs  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    return inputs.tokens if isinstance(inputs, MaskedTokens) else None
