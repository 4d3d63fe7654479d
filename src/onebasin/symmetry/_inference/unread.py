"""Parameter entries that the graphs do not read, or do not read at every input shape.

A model that reads `table[:length]` does not use the other rows at this length, but uses them
at a larger one. Unread positions are therefore fixed. Layouts that depend on the position in
this dimension are equal at read and unread positions.

If graphs at two input shapes partition a dimension differently, the partition depends on an
input size. The dimension is fixed, because every other size would partition it differently.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

from torch._ops import OpOverload

from onebasin.symmetry._inference.algebra import fix
from onebasin.symmetry._inference.atoms import (
    Atom,
    Dims,
    Fam,
    Reason,
    Sum,
    is_fixed,
    parts_of,
    walk,
)
from onebasin.symmetry._inference.unification import merge_members

Partition: TypeAlias = int | tuple[object, ...]


def partitions(dims: Dims) -> list[Partition | None]:
    """Return the partition of each dimension of a tensor; None for fixed dimensions."""
    return [None if is_fixed(atom) else _partition(atom) for atom in dims]


def _partition(atom: Atom) -> Partition:
    root = atom.root
    if root.form is None:
        return root.size
    if isinstance(root.form, Fam):
        # Unification joins overlapping members of families with different ranges.
        members = list(dict.fromkeys(map(_partition, root.form.members)))
        return members[0] if len(members) == 1 else ("family", *members)
    kind = "sum" if isinstance(root.form, Sum) else "product"
    return (kind, *map(_partition, parts_of(root)))


def differing_dims(
    solved: Sequence[tuple[Mapping[str, Dims], Collection[str]]],
) -> dict[str, set[int]]:
    """Return the dimensions of each tensor that the graphs partition differently.

    Args:
        solved: for each separately solved graph, the dimensions of every state tensor, and
            the names of the tensors that its outputs depend on.
    """
    differing: dict[str, set[int]] = {}
    for name in {name for _, live in solved for name in live}:
        divisions_by_graph = [partitions(dims[name]) for dims, live in solved if name in live]
        for place, divisions in enumerate(zip(*divisions_by_graph, strict=True)):
            if len({division for division in divisions if division is not None}) > 1:
                differing.setdefault(name, set()).add(place)
    return differing


MOVEMENT = frozenset(
    """
    slice select split split_with_sizes chunk tensor_split unbind narrow view _unsafe_view reshape
    flatten unflatten _reshape_alias permute transpose t movedim unsqueeze squeeze expand
    broadcast_to clone alias detach contiguous _to_copy to lift_fresh as_strided diagonal
    cat concat concatenate stack slice_scatter select_scatter repeat flip roll constant_pad_nd pad
    index index_select embedding zeros_like ones_like full_like empty_like rand_like randn_like
    new_zeros new_ones new_full new_empty new_empty_strided type_as expand_as
    """.split()
)
"""Operators that only rearrange entries of an operand, or only use its shape."""

UNREAD = Reason("not read at the example inputs")
PARTLY = Reason("read in part, and differently at other input shapes")


def is_read(target: OpOverload) -> bool:
    """Whether an operator computes with the entries of its operands."""
    name = target._schema.name.split("::")[1]
    return name not in MOVEMENT and name.removesuffix("_copy") not in MOVEMENT


def fix_unread(
    state: Mapping[str, Dims], live: Sequence[Collection[str]], reads: Sequence[Sequence[Dims]]
) -> bool:
    """Fix positions that no graph reads, and dimensions that graphs read differently.

    Args:
        state: the dimensions of every parameter and buffer.
        live: for each graph the names of the tensors that its outputs depend on.
        reads: for each graph the dimensions of its operators' operands.

    Returns:
        Whether anything changed.
    """
    read_roots = [{root for dims in graph for root in walk(dims)} for graph in reads]
    readers = {
        name: [read_roots[i] for i, names in enumerate(live) if name in names] for name in state
    }
    families = [
        family
        for name, dims in state.items()
        if readers[name]
        for family in _families_unread(dims, set().union(*readers[name]))
    ]
    for family in families:
        merge_members(family, UNREAD)
    if families:
        return True
    return any([_fix(dims, readers[name]) for name, dims in state.items() if readers[name]])


def _families_unread(dims: Dims, read: set[Atom]) -> Iterator[Atom]:
    """Yield the families that are unread at some positions of their key."""
    for root in walk(dims):
        if isinstance(root.form, Fam) and any(
            leaf not in read for member in root.form.members for leaf in _free([member])
        ):
            yield root


def _fix(dims: Dims, readers: Sequence[set[Atom]]) -> bool:
    """Fix the unread leaves of a tensor, and dimensions that graphs read differently."""
    changed = False
    for atom in dims:
        for leaf in _free([atom]):
            count = sum(leaf in read for read in readers)
            if count < len(readers) and not leaf.fixed_by:
                changed = True
                fix(atom if count else leaf, PARTLY if count else UNREAD)
    return changed


def _free(atoms: Sequence[Atom]) -> list[Atom]:
    return [r for r in walk(atoms) if r.form is None and r.fixed_by is None and r.size > 1]
