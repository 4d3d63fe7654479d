"""Entries of parameters that the traced graphs do not read, or do not always read.

A model that reads `table[:length]` does not use the other rows at this length, but uses them
at a larger one. So unread positions are fixed. Layouts that depend on the position along this
dimension are the same at read and at unread positions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from torch._ops import OpOverload

from onebasin.symmetry._inference.algebra import pin
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
"""Operators whose results are entries of an operand in other places, or only its shape."""

UNREAD = Reason("not read at the example inputs")
PARTLY = Reason("read in part, and not the same part at every input shape")


def is_read(target: OpOverload) -> bool:
    """Whether an operator computes with the entries of its operands."""
    name = target._schema.name.split("::")[1]
    return name not in MOVEMENT and name.removesuffix("_copy") not in MOVEMENT


def fix_unread(
    state: Mapping[str, Dims], live: Sequence[Collection[str]], reads: Sequence[Sequence[Dims]]
) -> bool:
    """Fix the positions that no graph reads, and the dimensions that not all read alike.

    Args:
        state: the dimensions of every parameter and buffer.
        live: for each graph the names of those that its outputs depend on.
        reads: for each graph the dimensions of the operands of its operators.

    Returns:
        Whether anything changed.
    """
    found = [{root for dims in graph for root in walk(dims)} for graph in reads]
    readers = {name: [found[i] for i, names in enumerate(live) if name in names] for name in state}
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
    """Yield the layouts that depend on a position and are unread at some positions."""
    for root in walk(dims):
        if isinstance(root.form, Fam) and any(
            leaf not in read for member in root.form.members for leaf in _free([member])
        ):
            yield root


def _fix(dims: Dims, readers: Sequence[set[Atom]]) -> bool:
    """Fix the unread leaves of a tensor, and every dimension that is read in part differently."""
    changed = False
    for atom in dims:
        for leaf in _free([atom]):
            count = sum(leaf in read for read in readers)
            if count < len(readers) and not leaf.pinned:
                changed = True
                pin(atom if count else leaf, PARTLY if count else UNREAD)
    return changed


def _free(atoms: Sequence[Atom]) -> list[Atom]:
    return [r for r in walk(atoms) if r.form is None and r.pinned is None and r.size > 1]
