"""Parameter entries that the graphs do not read, or do not read at every input shape.

A model that reads `table[:length]` does not use the other rows at this length, but uses them
at a larger one. Unread positions are therefore fixed. Layouts that depend on the position in
this dimension are equal at read and unread positions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from torch._ops import OpOverload

from onebasin.symmetry._inference.algebra import fix
from onebasin.symmetry._inference.atoms import Atom, Dims, Fam, Reason, walk
from onebasin.symmetry._inference.unification import merge_members

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
