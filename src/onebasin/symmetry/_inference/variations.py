"""Other input shapes: which of a model's inputs can have other sizes, and example inputs of them.

A symmetry must hold for every shape that the model accepts. Dimensions of one size are taken
to be one quantity (the length of tokens and of their mask, height and width of an image).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
Place = tuple[int, int]
"""A dimension of an input: the number of the tensor among all leaves, and the dimension."""


@dataclass(frozen=True)
class Variation:
    """Example inputs of another shape.

    Args:
        args, kwargs: the inputs.
        enlarges_one: whether a dimension of size one, the batch apart, has become larger.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    enlarges_one: bool = False


def find_variations(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], accepts: Callable[[Variation], bool]
) -> list[Variation]:
    """Return inputs of other shapes that a model accepts, at most two for each quantity.

    One is larger and one is smaller. The batch size changes with each of them if it can.

    Args:
        args, kwargs: the example inputs.
        accepts: whether the model runs on given inputs.
    """
    inputs = (args, dict(kwargs))
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    shaped = [leaf for leaf in leaves if leaf.dim()]
    if not shaped:
        return []
    search = _Search(inputs, leaves, int(shaped[0].shape[0]), accepts)
    for batch in (search.batch + 1, search.batch - 1, search.batch):
        found = search.run(batch) if batch > 0 else []
        if found:
            return found
    return []


@dataclass(frozen=True)
class _Search:
    inputs: Inputs
    leaves: Sequence[Tensor]
    batch: int
    accepts: Callable[[Variation], bool]

    def run(self, batch: int) -> list[Variation]:
        """Return the accepted variations with a given batch size."""
        found = []
        for size, places in self._quantities():
            for choices in ((2 * size, size + 1), (size // 2, size - 1)):
                found += self._first(batch, places, [n for n in choices if 0 < n != size])
        if not found and batch != self.batch:
            found = list(filter(self.accepts, [self._variation({}, batch)]))
        return found

    def _quantities(self) -> list[tuple[int, list[Place]]]:
        """Return every size apart from the batch with the dimensions that have it."""
        places: dict[int, list[Place]] = {}
        for i, leaf in enumerate(self.leaves):
            for dim, size in enumerate(leaf.shape):
                if dim or size != self.batch:
                    places.setdefault(int(size), []).append((i, dim))
        return list(places.items())

    def _first(
        self, batch: int, places: Sequence[Place], choices: Sequence[int]
    ) -> list[Variation]:
        """Return the first accepted variation of a quantity, else of its dimensions by place."""
        dims = sorted({dim for _, dim in places})
        apart = [[place for place in places if place[1] == dim] for dim in dims]
        for chosen in (places, *(apart if len(apart) > 1 else [])):
            for size in choices:
                variation = self._variation(dict.fromkeys(chosen, size), batch)
                if self.accepts(variation):
                    return [variation]
        return []

    def _variation(self, sizes: Mapping[Place, int], batch: int) -> Variation:
        leaves = enumerate(self.leaves)
        first = {(i, 0): batch for i, leaf in leaves if leaf.dim() and leaf.shape[0] == self.batch}
        return resized_inputs(self.inputs, {**first, **sizes})


def resized_inputs(inputs: Inputs, sizes: Mapping[Place, int]) -> Variation:
    """Return inputs with other sizes at some places."""
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    numbers: Iterator[int] = iter(range(len(leaves)))

    def resized(leaf: Tensor) -> Tensor:
        i = next(numbers)
        for dim, old in enumerate(leaf.shape):
            leaf = _resized(leaf, dim, sizes.get((i, dim), old))
        return leaf

    args, kwargs = pytree.tree_map_only(Tensor, resized, inputs)
    batch = next((int(leaf.shape[0]) for leaf in leaves if leaf.dim()), 0)
    return Variation(args, kwargs, any(_is_one(leaves[i], dim, batch) for i, dim in sizes))


def _is_one(leaf: Tensor, dim: int, batch: int) -> bool:
    """Whether a dimension has size one, the batch apart."""
    return leaf.shape[dim] == 1 and (dim > 0 or batch != 1)


def _resized(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Return a tensor with as many positions along a dimension, the first ones repeated."""
    if tensor.shape[dim] == size:
        return tensor
    places = torch.arange(size, device=tensor.device) % tensor.shape[dim]
    return tensor.index_select(dim, places)
