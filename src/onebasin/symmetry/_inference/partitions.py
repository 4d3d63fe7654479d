"""How a graph divides the dimensions of parameters into parts and factors.

Where graphs at two input shapes divide a dimension differently, a size of the input decides
what its parts are. Every other size would divide it elsewhere, so the dimension is fixed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from onebasin.symmetry._inference.atoms import Atom, Dims, Fam, Sum, is_pinned, parts_of

Partition: TypeAlias = int | tuple[object, ...]


def partitions(dims: Dims) -> list[Partition | None]:
    """Return how each dimension of a tensor is divided; None for one that cannot move."""
    return [None if is_pinned(atom) else _partition(atom) for atom in dims]


def _partition(atom: Atom) -> Partition:
    root = atom.root
    if root.form is None:
        return root.size
    if isinstance(root.form, Fam):
        # Where the ranges of a family differ, unification joins the members that overlap.
        members = list(dict.fromkeys(map(_partition, root.form.members)))
        return members[0] if len(members) == 1 else ("family", *members)
    kind = "sum" if isinstance(root.form, Sum) else "product"
    return (kind, *map(_partition, parts_of(root)))


def differing_dims(
    solved: Sequence[tuple[Mapping[str, Dims], Collection[str]]],
) -> dict[str, set[int]]:
    """Return the dimensions that not all graphs divide alike, for each tensor.

    Args:
        solved: for each graph, solved by itself, the dimensions of every tensor of the state
            and the names of those that its outputs depend on.
    """
    differing: dict[str, set[int]] = {}
    for name in {name for _, live in solved for name in live}:
        found = [partitions(dims[name]) for dims, live in solved if name in live]
        for place, divisions in enumerate(zip(*found, strict=True)):
            if len({division for division in divisions if division is not None}) > 1:
                differing.setdefault(name, set()).add(place)
    return differing
