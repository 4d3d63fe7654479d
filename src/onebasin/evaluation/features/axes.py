"""Axes: which dimension of a value inside a network counts the examples.

Owns finding it, by running a batch whose examples change places, and cutting a value into
what belongs to each example.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor
from torch.utils import _pytree as pytree

from onebasin.graph.graph import Graph

Profile = Float64[Tensor, "2 _"]
"""Mean and mean square of a value at each place of one of its dimensions."""


@dataclass(frozen=True)
class ExampleAxis:
    """Where the examples of a batch are in a value.

    Args:
        dim: the dimension that holds them.
        is_inner: whether they run fastest in it, where it holds more than the examples
            (windows of images, steps of sequences).
    """

    dim: int = 0
    is_inner: bool = False

    def by_example(self, value: Tensor, num_examples: int) -> Shaped[Tensor, "{num_examples} d"]:
        """Return a value with all features of an example in a row."""
        sizes = (-1, num_examples) if self.is_inner else (num_examples, -1)
        cut = value.unflatten(self.dim, sizes)
        return cut.movedim(self.dim + self.is_inner, 0).reshape(num_examples, -1)


def num_examples_of(inputs: Any) -> int:
    """Return the number of examples in a batch: the length of its first tensor."""
    leaves = (leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor))
    return next(len(leaf) for leaf in leaves if leaf.dim())


def find_axes(graph: Graph, params: Mapping[str, Tensor], inputs: Any) -> dict[str, ExampleAxis]:
    """Find the dimension of the examples in the values of a graph.

    The batch is run as it is and with its examples moved on by one. Along the dimension of
    the examples the mean of a value moves on, too; along any other it stays.

    Args:
        graph: for batches of this shape.
        params: of some network.
        inputs: a batch of at least two examples.

    Returns:
        For each floating-point node that depends on the examples its axis; nodes whose values
        do not tell the examples apart are missing.
    """
    num_examples = num_examples_of(inputs)
    batch = _told_apart(inputs)
    before = _profiles(graph, params, batch)
    after = _profiles(graph, params, _moved_on(batch))
    found = {}
    for name, profiles in before.items():
        axis = _axis(profiles, after[name], num_examples)
        if axis is not None:
            found[name] = axis
    return found


def _told_apart(inputs: Any) -> Any:
    """Return a batch in which a lone example, doubled, is not like its double."""
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    if any(not _is_doubled(leaf) for leaf in leaves):
        return inputs

    def apart(leaf: Tensor) -> Tensor:
        return torch.stack([leaf[0], leaf[1].flip(0)]) if leaf.dim() > 1 else leaf

    return pytree.tree_map_only(Tensor, apart, inputs)


def _is_doubled(leaf: Tensor) -> bool:
    return leaf.dim() > 0 and len(leaf) == 2 and torch.equal(leaf[0], leaf[1])


def _moved_on(inputs: Any) -> Any:
    num_examples = num_examples_of(inputs)

    def moved(leaf: Tensor) -> Tensor:
        return leaf.roll(1, 0) if leaf.dim() and len(leaf) == num_examples else leaf

    return pytree.tree_map_only(Tensor, moved, inputs)


def _profiles(graph: Graph, params: Mapping[str, Tensor], inputs: Any) -> dict[str, list[Profile]]:
    """Return for each value its mean and mean square along every dimension."""
    found = {}

    def visit(name: str, value: Tensor) -> None:
        if name in graph.fed and value.is_floating_point() and value.dim():
            wide = value.double()
            found[name] = [
                torch.stack([_along(part, dim) for part in (wide, wide.square())])
                for dim in range(value.dim())
            ]

    graph.run(params, inputs, visit)
    return found


def _along(value: Tensor, dim: int) -> Float64[Tensor, " size"]:
    return value.movedim(dim, 0).flatten(1).mean(1) if value.dim() > 1 else value


def _axis(before: list[Profile], after: list[Profile], num_examples: int) -> ExampleAxis | None:
    """Return the axis along which the profiles moved on best; else one that may have."""
    best, least, possible = None, 0.5, None
    for axis in _candidates(before, num_examples):
        sizes = (-1, num_examples) if axis.is_inner else (num_examples, -1)
        first, second = (
            each[axis.dim].unflatten(1, sizes).movedim(1 + axis.is_inner, 1)
            for each in (before, after)
        )
        moved, stayed = (float((second - other).abs().sum()) for other in (first.roll(1, 1), first))
        if moved < least * stayed:
            best, least = axis, moved / stayed
        if moved == stayed == 0 and possible is None:
            possible = axis
    return best or possible


def _candidates(profiles: list[Profile], num_examples: int) -> Iterator[ExampleAxis]:
    dims = [dim for dim, each in enumerate(profiles) if each.shape[1] % num_examples == 0]
    yield from (ExampleAxis(dim) for dim in dims if profiles[dim].shape[1])
    yield from (ExampleAxis(d, True) for d in dims if profiles[d].shape[1] > num_examples)
