"""Publication: from solved atoms to the public symmetry.

Atoms get provisional names here; `naming` gives them those a user knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import prod

from torch import Tensor

from onebasin.symmetry._buffer_values import digest
from onebasin.symmetry._inference.algebra import cut, family_marks, restrict
from onebasin.symmetry._inference.atoms import Atom, Dims, Fam, Prod, Reason, Sum, walk
from onebasin.symmetry._inference.canonical import canonical, product_layout
from onebasin.symmetry._inference.coverage import with_disjoint_blocks
from onebasin.symmetry._inference.groups import Nesting
from onebasin.symmetry._inference.naming import named
from onebasin.symmetry._inference.solver import Solver
from onebasin.symmetry.groups import Group, UnsupportedOp
from onebasin.symmetry.layouts import Family, Fixed, Layout, Units
from onebasin.symmetry.layouts import Sum as SumLayout
from onebasin.symmetry.symmetry import Symmetry

TORN = "its units lie across dimensions"
"""The reason for a dimension of a value inside the graph that holds only a factor of units."""


def publish(
    solver: Solver,
    nesting: Nesting,
    state: Mapping[str, Tensor],
    parameters: frozenset[str],
    aliases: Mapping[str, str],
    features: Mapping[str, Dims] | None = None,
) -> Symmetry:
    """Return the public symmetry of a solved graph.

    Args:
        solver: the solved layouts.
        nesting: which atoms are groups and how they nest.
        state: every parameter and buffer, tied names included.
        parameters: the names in `state` that are parameters.
        aliases: further names of tied tensors, to their first.
        features: dimensions of values inside the graph, to be written beside the tensors;
            units that no tensor of the state carries are fixed there.
    """
    live = frozenset().union(*solver.live_names())
    unused = {n for n, t in state.items() if t.dim() and aliases.get(n, n) not in live}
    used = {name: dims for name, dims in solver.dims.items() if name not in unused}
    writer = _Writer(used.values(), nesting)
    layouts: dict[str, tuple[Layout, ...]] = {}
    for name, tensor in state.items():
        if name in unused:
            layouts[name] = tuple(Fixed(size, "unused") for size in tensor.shape)
        else:
            layouts[name] = writer.layouts(solver.dims[aliases.get(name, name)])
    layouts |= {name: writer.layouts(dims) for name, dims in (features or {}).items()}
    symmetry = named(
        Symmetry(
            groups=writer.groups(),
            layouts=layouts,
            axes=writer.axes,
            tied=_tied(state, aliases),
            buffers=tuple(name for name in state if name not in parameters),
            unused=tuple(name for name in state if name in unused),
            buffer_values={name: digest(state[name]) for name in sorted(solver.buffers)},
            unsupported_ops=_refusals(solver, used),
        )
    )
    return with_disjoint_blocks(symmetry)


def refusals_in_training(
    solver: Solver, in_training: Solver, tensors: Sequence[str]
) -> tuple[UnsupportedOp, ...]:
    """Return the unsupported_ops because of which a training graph is left out.

    Args:
        solver: the layouts of the graphs in evaluation mode.
        in_training: the layouts of all graphs.
        tensors: names of the tensors that only the training graph uses.
    """
    refused = {reason for dims in in_training.tensors for reason in _refused(dims)}
    further = {reason for reason in refused if reason.operator not in solver.refusing()}
    keys = sorted({(r.operator, r.location, r.text) for r in further})
    return tuple(
        UnsupportedOp(operator, location, f"in training mode: {text}", tuple(tensors))
        for operator, location, text in keys
    )


def _tied(state: Iterable[str], aliases: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    tied: dict[str, list[str]] = {}
    for name in state:
        if name in aliases:
            tied.setdefault(aliases[name], [aliases[name]]).append(name)
    return tuple(map(tuple, tied.values()))


class _Writer:
    """Writes atoms as public layouts with provisional group names.

    Args:
        used: the dimensions of every tensor that counts.
        nesting: which atoms are groups and how they nest.
    """

    def __init__(self, used: Iterable[Dims], nesting: Nesting) -> None:
        self.nesting, self.torn = nesting, set[Atom]()
        roots = {root for dims in used for root in walk(dims) if root.form is None}
        leaves = [leaf for leaf in nesting.leaves if leaf in roots and leaf.size > 1]
        heads = dict.fromkeys(self._head(leaf) for leaf in leaves)
        self.names = {head: f"g{i}" for i, head in enumerate(heads)}
        self.movable = [head for head in heads if not head.pinned]
        outer = {a: None for leaf in self.movable for a in self._nested_in(leaf) if a.pinned}
        self.axes = {self.names[a]: a.size for a in outer}

    def _head(self, leaf: Atom) -> Atom:
        """Return the atom that stands for a group: the first of merged ones."""
        return self.nesting.merged.get(leaf, (leaf,))[0]

    def _size(self, leaf: Atom) -> int:
        return prod(atom.size for atom in self.nesting.merged.get(leaf, (leaf,)))

    def _nested_in(self, leaf: Atom) -> list[Atom]:
        """Return what a group nests in, outermost first: an outer one nests in fewer."""
        deps = self.nesting.deps
        heads = {self._head(a) for a in deps.get(leaf, ()) if self._head(a) in self.names}
        return sorted(heads, key=lambda a: (len(deps.get(a, ())), int(self.names[a][1:])))

    def groups(self) -> dict[str, Group]:
        """Return the movable groups, outer ones first."""
        found = {}
        for leaf in sorted(self.movable, key=lambda leaf: len(self._nested_in(leaf))):
            name = self.names[leaf]
            nested_in = tuple(self.names[a] for a in self._nested_in(leaf))
            found[name] = Group(name, self._size(leaf), nested_in)
        return found

    def layouts(self, dims: Dims) -> tuple[Layout, ...]:
        """Return the public layouts of one tensor.

        Units that it holds across several dimensions have no layout there and are fixed.
        """
        torn = self.nesting.torn(dims)
        writer = self._without(torn) if torn else self
        return writer._written(dims)

    def _without(self, torn: set[Atom]) -> _Writer:
        writer = copy(self)
        kept = {a: order for a, order in self.nesting.merged.items() if a not in torn}
        writer.nesting = replace(self.nesting, merged=kept)
        writer.names = {atom: name for atom, name in self.names.items() if atom not in torn}
        writer.torn = torn
        return writer

    def _written(self, dims: Dims) -> tuple[Layout, ...]:
        marks = family_marks(dims)
        keys = {key: f"k{i}" for i, key in enumerate(marks)}
        return canonical(tuple(self._layout(atom, marks, keys) for atom in dims))

    def _layout(self, atom: Atom, marks: dict[Atom, list[int]], keys: dict[Atom, str]) -> Layout:
        root = atom.root
        convert = partial(self._layout, marks=marks, keys=keys)
        if root in marks:
            rest = {key: edges for key, edges in marks.items() if key is not root}
            parts = [cut(root, low, high) for low, high in pairwise(marks[root])]
            return SumLayout(tuple(self._layout(p, rest, keys) for p in parts), keys[root])
        match root.form:
            case Prod(factors):
                return product_layout([convert(f) for f in self._without_merged(factors)])
            case Sum(parts):
                return SumLayout(tuple(map(convert, parts)))
            case Fam(key, _, _):
                members = [restrict(root, key, *edges) for edges in pairwise(marks[key.root])]
                return Family(keys[key.root], tuple(map(convert, members)))
            case _:
                return self._leaf(root)

    def _without_merged(self, factors: Dims) -> Iterator[Atom]:
        """Yield the factors, of merged atoms only the one that stands for them."""
        for factor in factors:
            root = factor.root
            if root.form is not None or self._head(root) is root:
                yield root

    def _leaf(self, root: Atom) -> Layout:
        if root.size <= 1:
            return Fixed(root.size)
        name = self.names.get(self._head(root))
        if root in self.torn:
            return Fixed(root.size, TORN)
        if name is None:
            return Fixed(root.size, "carried by no parameter")
        if root.pinned is None:
            return Units(name, self._size(root))
        return Units(name, root.size) if name in self.axes else Fixed(root.size, _text(root.pinned))


def _text(reason: Reason) -> str:
    return f"{reason.operator}: {reason.text}" if reason.operator else reason.text


def _refusals(solver: Solver, used: Mapping[str, Dims]) -> tuple[UnsupportedOp, ...]:
    """Return every refusal with the tensors it pinned."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for dims in solver.tensors:
        for reason in _refused(dims):
            found.setdefault((reason.operator, reason.location, reason.text), {})
    for name, dims in used.items():
        for reason in _refused(dims):
            found[reason.operator, reason.location, reason.text][name] = None
    return tuple(UnsupportedOp(*key, tuple(tensors)) for key, tensors in found.items())


def _refused(dims: Dims) -> Iterator[Reason]:
    for root in walk(dims):
        if root.pinned and root.pinned.refused:
            yield root.pinned
