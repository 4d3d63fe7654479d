"""Layers as linear regressions: the rows that are multiplied by a weight, and their products.

Every layer is a batch of `g` independent regressions with `d` inputs and `c` outputs each: `g` is
1 for a linear layer, the number of groups for a convolution, and the number of units for a norm. An
embedding has one regression for each token, whose input is a one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from onebasin.evaluation._refit.equations import NormalEquations
from onebasin.graph._windows import transposed_windows, windows

CHUNK_ELEMENTS = 1 << 23
"""Maximum number of elements of the rows that are held at once."""


class Operator(ABC):
    """A layer as a batch of linear regressions; all tensors have the dtype of the layer."""

    @abstractmethod
    def inputs(
        self, given: Mapping[str, Any], index: Int64[Tensor, " n"] | None
    ) -> Iterator[Float[Tensor, "g n d"]]:
        """Yield the rows that are multiplied by the weight, in chunks.

        Args:
            given: arguments of the node by name.
            index: rows to yield; None for all.
        """

    def add_to(
        self,
        equations: NormalEquations,
        given: Mapping[str, Any],
        outputs: Float[Tensor, "g n c"],
        index: Int64[Tensor, " n"] | None,
        block: slice,
        weight: float,
    ) -> None:
        """Add rows to the equations of the layer.

        Args:
            equations: the equations.
            given: arguments of the node by name.
            outputs: rows that the layer should reproduce.
            index: rows of the input that belong to them; None for all.
            block: range of the inputs that are used.
            weight: weight of every row.
        """
        place = 0
        for inputs in self.inputs(given, index):
            part = outputs[:, place : place + inputs.shape[1]]
            equations.add(inputs[..., block], part, weight)
            place += inputs.shape[1]

    @abstractmethod
    def outputs(self, value: Tensor) -> Float[Tensor, "g n c"]:
        """Return the rows of a value with the shape of the layer's output."""

    @abstractmethod
    def matrix(self, weight: Tensor) -> Float[Tensor, "g d c"]:
        """Return a weight as matrices."""

    @abstractmethod
    def weight(self, matrix: Float[Tensor, "g d c"], shape: torch.Size) -> Tensor:
        """Return matrices as a weight of the given shape; the inverse of `matrix`."""


@dataclass(frozen=True)
class Dense(Operator):
    """A product of rows and a weight.

    Args:
        source: name of the argument of the rows.
        is_transposed: whether the weight is `(in, out)`.
    """

    source: str
    is_transposed: bool

    def inputs(
        self, given: Mapping[str, Any], index: Int64[Tensor, " n"] | None
    ) -> Iterator[Float[Tensor, "1 n d"]]:
        rows = given[self.source].flatten(0, -2)
        rows = rows if index is None else rows[index]
        for chunk in rows.split(max(1, CHUNK_ELEMENTS // rows.shape[1])):
            yield chunk[None]

    def outputs(self, value: Tensor) -> Float[Tensor, "1 n c"]:
        return value.flatten(0, -2)[None]

    def matrix(self, weight: Tensor) -> Float[Tensor, "1 d c"]:
        return (weight if self.is_transposed else weight.T)[None]

    def weight(self, matrix: Float[Tensor, "1 d c"], shape: torch.Size) -> Tensor:
        return matrix[0] if self.is_transposed else matrix[0].T


@dataclass(frozen=True)
class Convolution(Operator):
    """A convolution with groups, in any number of dimensions.

    Args:
        kernel: sizes of the kernel.
        groups: number of groups.
        is_transposed: whether it is a transposed convolution.
    """

    kernel: tuple[int, ...]
    groups: int
    is_transposed: bool

    def inputs(
        self, given: Mapping[str, Any], index: Int64[Tensor, " n"] | None
    ) -> Iterator[Float[Tensor, "g n d"]]:
        extract = transposed_windows if self.is_transposed else windows
        extracted = extract(given["input"], self.kernel, given)
        view, dims = extracted.view, len(self.kernel)
        width = prod(view.shape[dims + 1 :])
        if index is None:
            examples = max(1, CHUNK_ELEMENTS // (prod(view.shape[1 : dims + 1]) * width))
            chunks = iter(view.split(examples))
        else:
            chunks = (extracted[part] for part in index.split(max(1, CHUNK_ELEMENTS // width)))
        for chunk in chunks:
            yield chunk.reshape(-1, self.groups, width // self.groups).transpose(0, 1)

    def outputs(self, value: Tensor) -> Float[Tensor, "g n c"]:
        value = value if value.dim() == len(self.kernel) + 2 else value[None]
        rows = value.movedim(1, -1).flatten(0, -2)
        return rows.view(len(rows), self.groups, -1).transpose(0, 1)

    def matrix(self, weight: Tensor) -> Float[Tensor, "g d c"]:
        if not self.is_transposed:
            return weight.reshape(self.groups, len(weight) // self.groups, -1).transpose(1, 2)
        flipped = weight.flip(tuple(range(2, weight.dim())))
        split = flipped.reshape(self.groups, -1, weight.shape[1], prod(self.kernel))
        return split.transpose(2, 3).flatten(1, 2)

    def weight(self, matrix: Float[Tensor, "g d c"], shape: torch.Size) -> Tensor:
        if not self.is_transposed:
            return matrix.transpose(1, 2).reshape(shape)
        split = matrix.view(self.groups, -1, prod(self.kernel), matrix.shape[2])
        weight = split.transpose(2, 3).reshape(shape)
        return weight.flip(tuple(range(2, len(shape))))


@dataclass(frozen=True)
class Scale(Operator):
    """A product of every unit and a number, as in the affine part of a norm.

    Args:
        source: name of the argument of the units.
        dims: dimensions of the units in the value, from the end or from the start.
    """

    source: str
    dims: tuple[int, ...]

    def inputs(
        self, given: Mapping[str, Any], index: Int64[Tensor, " n"] | None
    ) -> Iterator[Float[Tensor, "g n 1"]]:
        rows = self.outputs(given[self.source])
        yield rows if index is None else rows[:, index]

    def outputs(self, value: Tensor) -> Float[Tensor, "g n 1"]:
        return value.movedim(self.dims, tuple(range(len(self.dims)))).reshape(
            prod(value.shape[dim] for dim in self.dims), -1, 1
        )

    def matrix(self, weight: Tensor) -> Float[Tensor, "g 1 1"]:
        return weight.reshape(-1, 1, 1)

    def weight(self, matrix: Float[Tensor, "g 1 1"], shape: torch.Size) -> Tensor:
        return matrix.reshape(shape)


@dataclass(frozen=True)
class Batched(Operator):
    """A batch of products, each of rows and a weight of its own, such as stacked experts.

    Args:
        source: name of the argument of the rows.
    """

    source: str

    def inputs(
        self, given: Mapping[str, Any], index: Int64[Tensor, " n"] | None
    ) -> Iterator[Float[Tensor, "g n d"]]:
        rows = given[self.source]
        yield rows if index is None else rows[:, index]

    def outputs(self, value: Tensor) -> Float[Tensor, "g n c"]:
        return value

    def matrix(self, weight: Tensor) -> Float[Tensor, "g d c"]:
        return weight

    def weight(self, matrix: Float[Tensor, "g d c"], shape: torch.Size) -> Tensor:
        return matrix.reshape(shape)


@dataclass(frozen=True)
class Embedding(Operator):
    """A lookup of one row of the weight for each token."""

    def inputs(
        self, given: Mapping[str, Any], index: Int64[Tensor, " n"] | None
    ) -> Iterator[Int64[Tensor, " n"]]:
        """Yield the tokens themselves: their one-hot rows would be too wide."""
        tokens = given["indices"].flatten()
        yield tokens if index is None else tokens[index]

    def add_to(
        self,
        equations: NormalEquations,
        given: Mapping[str, Any],
        outputs: Float[Tensor, "1 n c"],
        index: Int64[Tensor, " n"] | None,
        block: slice,
        weight: float,
    ) -> None:
        (tokens,) = self.inputs(given, index)
        equations.add_tokens(tokens, outputs[0], len(given["weight"]), weight)

    def outputs(self, value: Tensor) -> Float[Tensor, "1 n c"]:
        return value.flatten(0, -2)[None]

    def matrix(self, weight: Tensor) -> Float[Tensor, "v 1 c"]:
        return weight[:, None]

    def weight(self, matrix: Float[Tensor, "v 1 c"], shape: torch.Size) -> Tensor:
        return matrix.reshape(shape)
