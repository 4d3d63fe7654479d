"""Example inputs of other shapes, and the selection of the dimensions that may vary.

A symmetry must hold for every shape that the model accepts. Dimensions of equal size are
assumed to be one quantity, such as the length of tokens and mask, or height and width.
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
"""A dimension of an input: the index of the tensor in all leaves, and the dimension."""


@dataclass(frozen=True)
class Variation:
    """Example inputs of another shape.

    Args:
        args, kwargs: the inputs.
        enlarges_one: whether a dimension of size one, other than the batch, was enlarged.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    enlarges_one: bool = False


def find_variations(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], accepts: Callable[[Variation], bool]
) -> list[Variation]:
    """Return inputs of other shapes that a model accepts, at most two for each quantity.

    One is larger and one is smaller. The batch size also changes if the model allows it.

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
        variations = search.run(batch) if batch > 0 else []
        if variations:
            return variations
    return []


@dataclass(frozen=True)
class _Search:
    inputs: Inputs
    leaves: Sequence[Tensor]
    batch: int
    accepts: Callable[[Variation], bool]

    def run(self, batch: int) -> list[Variation]:
        """Return the accepted variations with a given batch size."""
        variations = []
        for size, places in self._quantities():
            for choices in ((2 * size, size + 1), (size // 2, size - 1)):
                sizes = [n for n in choices if 0 < n != size]
                variations += self._first(batch, places, sizes)
        if not variations and batch != self.batch:
            variations = list(filter(self.accepts, [self._variation({}, batch)]))
        return variations

    def _quantities(self) -> list[tuple[int, list[Place]]]:
        """Return the dimensions of every size other than the batch."""
        places: dict[int, list[Place]] = {}
        for i, leaf in enumerate(self.leaves):
            for dim, size in enumerate(leaf.shape):
                if dim or size != self.batch:
                    places.setdefault(int(size), []).append((i, dim))
        return list(places.items())

    def _first(
        self, batch: int, places: Sequence[Place], choices: Sequence[int]
    ) -> list[Variation]:
        """Return the first accepted variation of a quantity, else of a single dimension index."""
        dims = sorted({dim for _, dim in places})
        separate = [[place for place in places if place[1] == dim] for dim in dims]
        for chosen in (places, *(separate if len(separate) > 1 else [])):
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
    """Return inputs with other sizes of some dimensions."""
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
    """Whether a dimension other than the batch has size one."""
    return leaf.shape[dim] == 1 and (dim > 0 or batch != 1)


def _resized(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Return a tensor of another size along a dimension, by cropping or repetition."""
    if tensor.shape[dim] == size:
        return tensor
    places = torch.arange(size, device=tensor.device) % tensor.shape[dim]
    return tensor.index_select(dim, places)
