"""Example inputs of other shapes, and the selection of the dimensions that may vary.

A symmetry must hold for every shape that the model accepts. Dimensions of equal size are
assumed to be one quantity, such as the length of tokens and mask, or height and width.

Two recordings agree if they contain the same calls on corresponding tensors, and the calls
differ only in sizes derived from the sizes of their operands. Then the typing rules give the
same constraints for every parameter, so one graph suffices. Undecided cases count as different:
they cost another export, but never a wrong group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from onebasin.symmetry._inference.cuts import RESHAPES, index_items, take_same_parts
from onebasin.symmetry._inference.recording import RecordedCall

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


SIZED = frozenset(
    "expand expand_as broadcast_to repeat tile zeros ones empty full new_zeros new_ones new_empty "
    "new_full rand randn interpolate upsample layer_norm".split()
)
"""Functions with rules that are valid for every size argument."""

SCALED = frozenset(
    "add sub mul div rsub radd rmul true_divide truediv rtruediv pow rpow rdiv iadd isub imul "
    "itruediv masked_fill clamp".split()
)
"""Pointwise functions with a number argument."""

NUMBERED = frozenset({"arange", "linspace"})
"""Functions that create positions; their rules are the same for other counts."""

INDEXED = frozenset({"index_select"})
"""Functions whose rules treat known indices, such as `arange(n)`, as slices."""


def changed_state(base: Sequence[RecordedCall], other: Sequence[RecordedCall]) -> set[str] | None:
    """Return the state tensors that differing calls read; None if the recordings agree.

    If the order of calls differs, these are all tensors read by the rest of both recordings.
    """
    changed: set[str] = set()
    differs = False
    pairs = zip_longest(base, other)
    for a, b in pairs:
        if a is None or b is None or not _correspond(a, b):
            rest = [call for pair in [(a, b), *pairs] for call in pair if call is not None]
            return changed.union(*(call.state for call in rest))
        if not _agree(a, b):
            differs = True
            changed |= a.state
    return changed if differs else None


def _correspond(a: RecordedCall, b: RecordedCall) -> bool:
    return a.name == b.name and [o.label for o in a.operands] == [o.label for o in b.operands]


def _agree(a: RecordedCall, b: RecordedCall) -> bool:
    if len(a.others) != len(b.others) or not _same_cuts(a, b):
        return False
    differing = [(x, y) for x, y in zip(a.others, b.others, strict=True) if x != y]
    if a.name in RESHAPES:
        return _only_sizes(differing) and _same_blocks(a, b)
    if a.name == "__getitem__":
        return _only_sizes(differing) and _same_index(a, b)
    if a.name in INDEXED and a.floating and a.shapes != b.shapes:
        return all(origin.depends_on_inputs for origin in a.operands)
    if all(isinstance(x, float) and isinstance(y, float) for x, y in differing):
        return True
    sized = a.name in SIZED or (a.name.strip("_") in SCALED and a.floating)
    numbered = a.name in NUMBERED and a.results != b.results
    return _only_sizes(differing) and (sized or numbered)


def _same_cuts(a: RecordedCall, b: RecordedCall) -> bool:
    """Whether two calls read the same parts of dimensions; integer tensors have no units."""
    holds_units = a.floating or a.name == "__setitem__"
    if not holds_units or not (a.cuts or b.cuts):
        return True
    first, second = a.operands[0], b.operands[0]
    sizes_differ = [cut.size for cut in a.cuts] != [cut.size for cut in b.cuts]
    if sizes_differ and first.hidden != second.hidden:
        return False
    return take_same_parts(a.cuts, b.cuts)


def _only_sizes(differing: list[tuple[object, object]]) -> bool:
    return all(
        isinstance(x, int | None) and isinstance(y, int | None) and bool not in (type(x), type(y))
        for x, y in differing
    )


def _same_blocks(a: RecordedCall, b: RecordedCall) -> bool:
    """Whether two reshapes split and join the dimensions of unchanged size in the same way."""
    left = _blocks(a.shapes[0], a.results[0])
    right = _blocks(b.shapes[0], b.results[0])
    if len(left) != len(right):
        return False
    pairs = zip(left, right, strict=True)
    return all(x == y or (x[0] != y[0] and len(x[1]) == len(y[1])) for x, y in pairs)


Block = tuple[tuple[int, ...], tuple[int, ...]]


def _blocks(before: Sequence[int], after: Sequence[int]) -> list[Block]:
    """Return the smallest runs of dimensions that a reshape maps to each other."""
    if 0 in before or prod(before) != prod(after):  # the dtype changed, too
        return [(tuple(before), tuple(after))]
    blocks: list[Block] = []
    left, right = list(before), list(after)
    while left or right:
        group, wanted = [left.pop(0)] if left else [], [right.pop(0)] if right else []
        have, want = prod(group), prod(wanted)
        while have != want:
            if have < want:
                group.append(left.pop(0))
                have *= group[-1]
            else:
                wanted.append(right.pop(0))
                want *= wanted[-1]
        blocks.append((tuple(group), tuple(wanted)))
    return blocks


def _same_index(a: RecordedCall, b: RecordedCall) -> bool:
    """Whether two reads `x[...]` index every dimension of unchanged size in the same way.

    Parameters and buffers have fixed sizes, so every change of their bounds is a difference.
    Integer and boolean tensors have no units. Rules treat only single index lists as slices.
    """
    left, right = list(_items(a)), list(_items(b))
    if len(left) != len(right):
        return False
    for (dim, x), (_, y) in zip(left, right, strict=True):
        if x != y and a.floating and (dim is None or a.shapes[0][dim] == b.shapes[0][dim]):
            return False
    if len(a.operands) != 2 or len(a.shapes[1]) != 1 or not a.floating:
        return True
    return a.operands[1].depends_on_inputs or a.shapes[1] == b.shapes[1]


def _items(call: RecordedCall) -> Iterator[tuple[int | None, tuple[object, ...]]]:
    """Yield the items of an index with the dimension of each, or None if it is ambiguous."""
    has_index = len(call.operands) > 1
    for dim, item in index_items(len(call.shapes[0]), call.others):
        yield (None if has_index else dim), item
