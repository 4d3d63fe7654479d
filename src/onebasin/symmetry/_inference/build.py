"""Construction of the public symmetry from solved atoms.

Atoms get provisional names here; `naming` replaces them by names of parameters.
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
from onebasin.symmetry._inference.canonical import canonical, product_layout, with_disjoint_blocks
from onebasin.symmetry._inference.groups import Nesting
from onebasin.symmetry._inference.naming import with_names
from onebasin.symmetry._inference.solver import Solver
from onebasin.symmetry.groups import Group, UnsupportedOp
from onebasin.symmetry.layouts import Family, Fixed, Layout, Units
from onebasin.symmetry.layouts import Sum as SumLayout
from onebasin.symmetry.symmetry import Symmetry

SPLIT = "its units are split across dimensions"
"""The reason for a dimension of a value that contains only a factor of the units."""


def build_symmetry(
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
        nesting: the atoms that are groups, and their nesting.
        state: every parameter and buffer, including all names of tied tensors.
        parameters: the names in `state` that are parameters.
        aliases: first names of tied tensors by their other names.
        features: dimensions of further values in the graph, by name; units without a state
            tensor are fixed in them.
    """
    live = frozenset().union(*solver.live_names())
    unused = {n for n, t in state.items() if t.dim() and aliases.get(n, n) not in live}
    used = {name: dims for name, dims in solver.dims.items() if name not in unused}
    builder = _LayoutBuilder(used.values(), nesting)
    layouts: dict[str, tuple[Layout, ...]] = {}
    for name, tensor in state.items():
        if name in unused:
            layouts[name] = tuple(Fixed(size, "unused") for size in tensor.shape)
        else:
            layouts[name] = builder.layouts(solver.dims[aliases.get(name, name)])
    layouts |= {name: builder.layouts(dims) for name, dims in (features or {}).items()}
    symmetry = with_names(
        Symmetry(
            groups=builder.groups(),
            layouts=layouts,
            axes=builder.axes,
            tied=_tied(state, aliases),
            buffers=tuple(name for name in state if name not in parameters),
            unused=tuple(name for name in state if name in unused),
            buffer_values={name: digest(state[name]) for name in sorted(solver.buffers)},
            unsupported_ops=_unsupported_ops(solver, used),
        )
    )
    return with_disjoint_blocks(symmetry, features or ())


def unsupported_in_training(
    solver: Solver, in_training: Solver, tensors: Sequence[str]
) -> tuple[UnsupportedOp, ...]:
    """Return the unsupported operators that prevent the use of a training graph.

    Args:
        solver: the layouts of the graphs in evaluation mode.
        in_training: the layouts of all graphs.
        tensors: names of the tensors that only the training graph uses.
    """
    unsupported = {reason for dims in in_training.tensors for reason in _unsupported(dims)}
    further = {
        reason for reason in unsupported if reason.operator not in solver.unsupported_operators()
    }
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


class _LayoutBuilder:
    """Converts atoms to public layouts with provisional group names.

    Args:
        used: the dimensions of every used tensor.
        nesting: the atoms that are groups, and their nesting.
    """

    def __init__(self, used: Iterable[Dims], nesting: Nesting) -> None:
        self.nesting, self.split = nesting, set[Atom]()
        roots = {root for dims in used for root in walk(dims) if root.form is None}
        leaves = [leaf for leaf in nesting.leaves if leaf in roots and leaf.size > 1]
        heads = dict.fromkeys(self._head(leaf) for leaf in leaves)
        self.names = {head: f"g{i}" for i, head in enumerate(heads)}
        self.movable = [head for head in heads if not head.fixed_by]
        outer = {a: None for leaf in self.movable for a in self._nested_in(leaf) if a.fixed_by}
        self.axes = {self.names[a]: a.size for a in outer}

    def _head(self, leaf: Atom) -> Atom:
        """Return the first atom of a merged group, which represents the group."""
        return self.nesting.merged.get(leaf, (leaf,))[0]

    def _size(self, leaf: Atom) -> int:
        return prod(atom.size for atom in self.nesting.merged.get(leaf, (leaf,)))

    def _nested_in(self, leaf: Atom) -> list[Atom]:
        """Return the atoms that a group nests in, outermost first (by their nesting depth)."""
        deps = self.nesting.deps
        heads = {self._head(a) for a in deps.get(leaf, ()) if self._head(a) in self.names}
        return sorted(heads, key=lambda a: (len(deps.get(a, ())), int(self.names[a][1:])))

    def groups(self) -> dict[str, Group]:
        """Return the movable groups, outer groups first."""
        groups = {}
        for leaf in sorted(self.movable, key=lambda leaf: len(self._nested_in(leaf))):
            name = self.names[leaf]
            nested_in = tuple(self.names[a] for a in self._nested_in(leaf))
            groups[name] = Group(name, self._size(leaf), nested_in)
        return groups

    def layouts(self, dims: Dims) -> tuple[Layout, ...]:
        """Return the public layouts of one tensor.

        Units that are split across several of its dimensions are fixed.
        """
        split = self.nesting.split(dims)
        builder = self._without(split) if split else self
        return builder._written(dims)

    def _without(self, split: set[Atom]) -> _LayoutBuilder:
        builder = copy(self)
        kept = {a: order for a, order in self.nesting.merged.items() if a not in split}
        builder.nesting = replace(self.nesting, merged=kept)
        builder.names = {atom: name for atom, name in self.names.items() if atom not in split}
        builder.split = split
        return builder

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
        """Yield the factors, but only the first atom of a merged group."""
        for factor in factors:
            root = factor.root
            if root.form is not None or self._head(root) is root:
                yield root

    def _leaf(self, root: Atom) -> Layout:
        if root.size <= 1:
            return Fixed(root.size)
        name = self.names.get(self._head(root))
        if root in self.split:
            return Fixed(root.size, SPLIT)
        if name is None:
            return Fixed(root.size, "not in any parameter")
        if root.fixed_by is None:
            return Units(name, self._size(root))
        return (
            Units(name, root.size) if name in self.axes else Fixed(root.size, _text(root.fixed_by))
        )


def _text(reason: Reason) -> str:
    return f"{reason.operator}: {reason.text}" if reason.operator else reason.text


def _unsupported_ops(solver: Solver, used: Mapping[str, Dims]) -> tuple[UnsupportedOp, ...]:
    """Return the unsupported operators with the tensors that they fixed."""
    tensors: dict[tuple[str, str, str], dict[str, None]] = {}
    for dims in solver.tensors:
        for reason in _unsupported(dims):
            tensors.setdefault((reason.operator, reason.location, reason.text), {})
    for name, dims in used.items():
        for reason in _unsupported(dims):
            tensors[reason.operator, reason.location, reason.text][name] = None
    return tuple(UnsupportedOp(*key, tuple(names)) for key, names in tensors.items())


def _unsupported(dims: Dims) -> Iterator[Reason]:
    for root in walk(dims):
        if root.fixed_by and root.fixed_by.unsupported:
            yield root.fixed_by
