"""Datasets: labeled training and test examples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from onebasin._checks import described
from onebasin._random import check_seed
from onebasin.data import sampling
from onebasin.data.examples import Examples, Tokens, as_tensor, select
from onebasin.errors import OneBasinError, check_whole, is_fraction, listed, public


class Dataset:
    """Labeled examples in a training and a test split; immutable.

    Args:
        name: name for messages and reports.
        train_inputs: a tensor `(n, ...)`, or `Pixels` or `Tokens`, which are converted to a
            tensor on first access.
        train_labels: classes, int64 `(n,)`.
        test_inputs: test inputs in the same form, `(m, ...)`.
        test_labels: classes, int64 `(m,)`.
        num_classes: number of classes; labels are 0 to `num_classes - 1`.
        class_names: name of each class, or empty.

    Raises:
        OneBasinError: the parts do not fit together.

    Examples:
        >>> inputs, labels = torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> data = Dataset(
        ...     "toy", inputs, labels, test_inputs=inputs, test_labels=labels, num_classes=3
        ... )
        >>> data.subset(4)
        Dataset('toy', 4 train and 6 test examples of shape (2,), 3 classes)
    """

    @public
    def __init__(
        self,
        name: str,
        train_inputs: Examples,
        train_labels: Tensor,
        *,
        test_inputs: Examples,
        test_labels: Tensor,
        num_classes: int,
        class_names: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.train_examples = train_inputs
        self.train_labels = train_labels
        self.test_examples = test_inputs
        self.test_labels = test_labels
        self.num_classes = check_whole("num_classes", num_classes, least=1)
        self.class_names = class_names
        _check_split(name, "train", train_inputs, train_labels, self.num_classes)
        _check_split(name, "test", test_inputs, test_labels, self.num_classes)
        if train_inputs.shape[1:] != test_inputs.shape[1:]:
            raise OneBasinError(
                f"data: {name} has training inputs of shape {tuple(train_inputs.shape[1:])} but "
                f"test inputs of shape {tuple(test_inputs.shape[1:])}; use inputs of one shape"
            )

    @cached_property
    def train_inputs(self) -> Tensor:
        """Training inputs of a network: normalized float32, or int64 tokens."""
        return as_tensor(self.train_examples, self.name)

    @cached_property
    def test_inputs(self) -> Tensor:
        """Test inputs of a network: normalized float32, or int64 tokens."""
        return as_tensor(self.test_examples, self.name)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.train_examples.shape[1:])

    @property
    def vocabulary(self) -> int | None:
        """Number of different tokens; None for other inputs than texts."""
        return self.train_examples.vocabulary if isinstance(self.train_examples, Tokens) else None

    def replace(self, **changes: Any) -> Dataset:
        """Return a dataset with some arguments replaced.

        Args:
            changes: new arguments of `Dataset` by name.
        """
        current = {
            "name": self.name,
            "train_inputs": self.train_examples,
            "train_labels": self.train_labels,
            "test_inputs": self.test_examples,
            "test_labels": self.test_labels,
            "num_classes": self.num_classes,
            "class_names": self.class_names,
        }
        return Dataset(**{**current, **changes})

    @public
    def subset(
        self,
        max_train_examples: int | None = None,
        max_test_examples: int | None = None,
        seed: int = 0,
        *,
        balanced: bool = False,
    ) -> Dataset:
        """Return a random subset of the examples, in their order.

        With the same seed a smaller subset is part of a larger one.

        Args:
            max_train_examples: number of training examples. Default: all.
            max_test_examples: number of test examples. Default: all.
            seed: random seed of the choice.
            balanced: whether all classes have equally many examples; the first classes have one
                more if the number is not divisible.

        Raises:
            OneBasinError: there are fewer examples, or the seed is invalid.
        """
        seed = check_seed(seed)
        return self._rows(
            train=self._sample_rows("train", max_train_examples, seed, balanced),
            test=self._sample_rows("test", max_test_examples, seed + 1, balanced),
        )

    @public
    def with_classes(self, classes: Iterable[int]) -> Dataset:
        """Return the examples of some classes; labels do not change.

        Args:
            classes: the classes to keep.

        Raises:
            OneBasinError: a class does not exist, or the list is empty.
        """
        class_list = listed("classes", classes)
        numbers = [check_whole("a class", number, least=0) for number in class_list]
        if not numbers or max(numbers) >= self.num_classes:
            raise OneBasinError(
                f"data: classes {numbers} of {self.name}; give at least one of 0 to "
                f"{self.num_classes - 1}"
            )
        wanted = torch.tensor(sorted(set(numbers)))
        return self._rows(
            train=torch.isin(self.train_labels, wanted).nonzero().flatten(),
            test=torch.isin(self.test_labels, wanted).nonzero().flatten(),
        )

    @public
    def split(self, fraction: float = 0.5, *, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Split the training examples into two datasets; both have all test examples.

        Args:
            fraction: fraction of the examples of each class in the first dataset.
            seed: random seed of the choice.

        Raises:
            OneBasinError: the fraction is not between 0 and 1, or the seed is invalid.
        """
        return self._split(fraction, fraction, seed)

    def split_by_class(self, fraction: float = 1.0, *, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Split the training examples into two datasets with different classes.

        The first gets `fraction` of the examples of each class of the first half, and
        `1 - fraction` of each of the second half; the other gets the rest. A fraction of 1 makes
        the classes disjoint; 0.2 is the 20/80 split of Ainsworth et al. (2023), Figure 5. Both
        keep all test examples.

        Args:
            fraction: between 0 and 1.
            seed: random seed of the split.

        Raises:
            OneBasinError: the fraction is not between 0 and 1, or the seed is invalid.
        """
        rest = 1 - fraction if is_fraction(fraction) else fraction
        return self._split(fraction, rest, seed)

    @public
    def with_label_noise(self, fraction: float, *, seed: int = 0) -> Dataset:
        """Return the dataset with wrong labels for some training examples.

        Args:
            fraction: fraction of the training examples that get the label of another class, with
                equal probabilities.
            seed: random seed of the labels.

        Raises:
            OneBasinError: the fraction is not between 0 and 1, or the seed is invalid.
        """
        labels = sampling.noisy_labels(
            self.train_labels, fraction, num_classes=self.num_classes, seed=seed, name=self.name
        )
        return self.replace(train_labels=labels)

    def _split(self, first: float, second: float, seed: int) -> tuple[Dataset, Dataset]:
        parts = sampling.split_rows(
            self.train_labels,
            first,
            second,
            num_classes=self.num_classes,
            seed=seed,
            name=self.name,
        )
        return self._rows(train=parts[0]), self._rows(train=parts[1])

    def _sample_rows(
        self, split: str, number: int | None, seed: int, balanced: bool
    ) -> Tensor | None:
        if number is None:
            return None
        return sampling.sample_rows(
            self.train_labels if split == "train" else self.test_labels,
            number,
            num_classes=self.num_classes,
            seed=seed,
            balanced=balanced,
            name=self.name,
            split=split,
        )

    def _rows(self, *, train: Tensor | None = None, test: Tensor | None = None) -> Dataset:
        """Return some of the training and test examples; None keeps all."""
        changes: dict[str, Any] = {}
        if train is not None:
            changes["train_inputs"] = select(self.train_examples, train)
            changes["train_labels"] = self.train_labels[train]
        if test is not None:
            changes["test_inputs"] = select(self.test_examples, test)
            changes["test_labels"] = self.test_labels[test]
        return self.replace(**changes)

    def as_images(self) -> Dataset:
        """Return the dataset with inputs `(n, channels, height, width)`.

        Flat inputs of a square number become images of one channel; images do not change.

        Raises:
            OneBasinError: the inputs are neither.
        """
        shape, side = self.input_shape, math.isqrt(math.prod(self.input_shape))
        if len(shape) == 3:
            return self
        if len(shape) != 1 or side * side != shape[0] or self.vocabulary is not None:
            raise OneBasinError(
                f"data: inputs of {self.name} are {shape}, which are not images; choose a network "
                "that takes them, or other data"
            )
        return self._reshaped((1, side, side))

    def flattened(self) -> Dataset:
        """Return the dataset with inputs `(n, numbers)`; for images this needs them in memory."""
        return self if len(self.input_shape) == 1 else self._reshaped((-1,))

    def _reshaped(self, shape: tuple[int, ...]) -> Dataset:
        train, test = self.train_inputs, self.test_inputs
        return self.replace(
            train_inputs=train.reshape(len(train), *shape),
            test_inputs=test.reshape(len(test), *shape),
        )

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, {len(self.train_labels)} train and {len(self.test_labels)} "
            f"test examples of shape {self.input_shape}, {self.num_classes} classes)"
        )


def _check_split(name: str, split: str, inputs: Examples, labels: Tensor, num_classes: int) -> None:
    if not isinstance(inputs, Examples):
        raise OneBasinError(
            f"data: {split} inputs of {name} are {described(inputs)}; pass a tensor"
        )
    if not isinstance(labels, Tensor):
        raise OneBasinError(
            f"data: {split} labels of {name} are {described(labels)}; pass a tensor"
        )
    if len(inputs) != len(labels):
        raise OneBasinError(
            f"data: {name} has {len(inputs)} {split} inputs but {len(labels)} labels; "
            "give one label for each input"
        )
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise OneBasinError(
            f"data: labels of {name} are {labels.dtype} {tuple(labels.shape)}; pass int64 (n,)"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise OneBasinError(
            f"data: {split} labels of {name} are {int(labels.min())} to {int(labels.max())}, but "
            f"there are {num_classes} classes; number them from 0, or pass another num_classes"
        )
