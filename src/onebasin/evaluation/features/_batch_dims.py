"""Batch dimensions of the values inside a network.

A batch with rotated examples shows which dimension of a value counts the examples.
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
"""Mean and mean square of a value at each index of one dimension."""


@dataclass(frozen=True)
class BatchDim:
    """Position of the examples in a value.

    Args:
        dim: the batch dimension.
        is_inner: whether examples vary fastest in a dimension with further entries, such as
            windows of images or steps of sequences.
    """

    dim: int = 0
    is_inner: bool = False

    def by_example(self, value: Tensor, num_examples: int) -> Shaped[Tensor, "{num_examples} d"]:
        """Return a value with all features of an example in one row."""
        sizes = (-1, num_examples) if self.is_inner else (num_examples, -1)
        cut = value.unflatten(self.dim, sizes)
        return cut.movedim(self.dim + self.is_inner, 0).reshape(num_examples, -1)


def num_examples_of(inputs: Any) -> int:
    """Return the number of examples in a batch: the length of its first tensor."""
    leaves = (leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor))
    return next(len(leaf) for leaf in leaves if leaf.dim())


def find_batch_dims(graph: Graph, params: Mapping[str, Tensor], inputs: Any) -> dict[str, BatchDim]:
    """Find the batch dimension of the values of a graph.

    The graph is run on the batch and on the batch rolled by one. The mean along the batch dimension
    rolls, too; along any other dimension it is unchanged.

    Args:
        graph: graph for batches of this shape.
        params: parameters of any network.
        inputs: a batch of at least two examples.

    Returns:
        The batch dimension of each data-dependent floating-point node. Nodes with equal values for
        all examples are missing.
    """
    num_examples = num_examples_of(inputs)
    batch = _make_distinct(inputs)
    before = _profiles(graph, params, batch)
    after = _profiles(graph, params, _rolled(batch))
    dims = {}
    for name, profiles in before.items():
        axis = _axis(profiles, after[name], num_examples)
        if axis is not None:
            dims[name] = axis
    return dims


def _make_distinct(inputs: Any) -> Any:
    """Return a batch in which a duplicated single example differs from its copy."""
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    if any(not _is_doubled(leaf) for leaf in leaves):
        return inputs

    def apart(leaf: Tensor) -> Tensor:
        return torch.stack([leaf[0], leaf[1].flip(0)]) if leaf.dim() > 1 else leaf

    return pytree.tree_map_only(Tensor, apart, inputs)


def _is_doubled(leaf: Tensor) -> bool:
    return leaf.dim() > 0 and len(leaf) == 2 and torch.equal(leaf[0], leaf[1])


def _rolled(inputs: Any) -> Any:
    num_examples = num_examples_of(inputs)

    def moved(leaf: Tensor) -> Tensor:
        return leaf.roll(1, 0) if leaf.dim() and len(leaf) == num_examples else leaf

    return pytree.tree_map_only(Tensor, moved, inputs)


def _profiles(graph: Graph, params: Mapping[str, Tensor], inputs: Any) -> dict[str, list[Profile]]:
    """Return the mean and mean square of each value along every dimension."""
    profiles = {}

    def hook(name: str, value: Tensor) -> None:
        if name in graph.data_dependent_nodes and value.is_floating_point() and value.dim():
            wide = value.double()
            profiles[name] = [
                torch.stack([_along(part, dim) for part in (wide, wide.square())])
                for dim in range(value.dim())
            ]

    graph.run(params, inputs, hook)
    return profiles


def _along(value: Tensor, dim: int) -> Float64[Tensor, " size"]:
    return value.movedim(dim, 0).flatten(1).mean(1) if value.dim() > 1 else value


def _axis(before: list[Profile], after: list[Profile], num_examples: int) -> BatchDim | None:
    """Return the dimension whose profiles rolled best, otherwise one that may have."""
    best, lowest, possible = None, 0.5, None
    for axis in _candidates(before, num_examples):
        sizes = (-1, num_examples) if axis.is_inner else (num_examples, -1)
        first, second = (
            each[axis.dim].unflatten(1, sizes).movedim(1 + axis.is_inner, 1)
            for each in (before, after)
        )
        moved, stayed = (float((second - other).abs().sum()) for other in (first.roll(1, 1), first))
        if moved < lowest * stayed:
            best, lowest = axis, moved / stayed
        if moved == stayed == 0 and possible is None:
            possible = axis
    return best or possible


def _candidates(profiles: list[Profile], num_examples: int) -> Iterator[BatchDim]:
    dims = [dim for dim, each in enumerate(profiles) if each.shape[1] % num_examples == 0]
    yield from (BatchDim(dim) for dim in dims if profiles[dim].shape[1])
    yield from (BatchDim(d, True) for d in dims if profiles[d].shape[1] > num_examples)
