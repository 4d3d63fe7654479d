"""Partition of parameter dimensions into parts and factors by a graph.

If graphs at two input shapes partition a dimension differently, the partition depends on an
input size. The dimension is fixed, because every other size would partition it differently.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from onebasin.symmetry._inference.atoms import Atom, Dims, Fam, Sum, is_fixed, parts_of

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
