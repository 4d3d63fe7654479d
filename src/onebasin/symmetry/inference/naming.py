"""Naming: public layouts of all tensors, with groups named after the user's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from torch import Tensor, nn

from onebasin.symmetry.inference.algebra import cut, restrict
from onebasin.symmetry.inference.atoms import Atom, Dims, Fam, Prod, Reason, Sum, flat_parts, walk
from onebasin.symmetry.inference.groups import Nesting, _marks
from onebasin.symmetry.inference.solver import Solver
from onebasin.symmetry.layouts import Family, Fixed, Layout, Product, Units
from onebasin.symmetry.layouts import Sum as SumLayout
from onebasin.symmetry.symmetry import Group, Refusal, Symmetry

SUFFIXES = (".weight", ".bias", "_weight", "_bias")


def describe(
    solver: Solver,
    nesting: Nesting,
    model: nn.Module,
    state: Mapping[str, Tensor],
    aliases: Mapping[str, str],
) -> Symmetry:
    """Return the public symmetry of a solved graph."""
    live = _live_names(solver)
    unused = {name for name in state if aliases.get(name, name) not in live}
    used = {name: dims for name, dims in solver.dims.items() if name not in unused}
    names = _Names(used, nesting)
    layouts = {}
    for name, tensor in state.items():
        dims = solver.dims[aliases.get(name, name)]
        if name in unused:
            layouts[name] = tuple(Fixed(size, "unused") for size in tensor.shape)
        else:
            layouts[name] = names.layouts(dims)
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return Symmetry(
        groups=names.groups(),
        layouts=layouts,
        axes=names.axes(),
        tied=_tied(state, aliases),
        buffers=tuple(name for name in state if name not in parameters),
        unused=tuple(name for name in state if name in unused),
        refusals=_refusals(solver, used),
    )


def _live_names(solver: Solver) -> set[str]:
    tensors = solver.exported.tensors
    live = {tensors[node.name] for node in solver.exported.live if node.name in tensors}
    return {solver.aliases.get(name, name) for name in live}


def _tied(state: Mapping[str, Tensor], aliases: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    tied: dict[str, list[str]] = {}
    for name in state:
        if name in aliases:
            tied.setdefault(aliases[name], [aliases[name]]).append(name)
    return tuple(map(tuple, tied.values()))


class _Names:
    """Public names and layouts of atoms.

    Args:
        used: the dimensions of every tensor that counts.
        nesting: which atoms are groups.
    """

    def __init__(self, used: Mapping[str, Dims], nesting: Nesting) -> None:
        self.nesting = nesting
        self.names: dict[Atom, str] = {}
        self.outer: dict[Atom, None] = {}
        carried: dict[Atom, str] = {}
        taken: set[str] = set()
        for name, dims in used.items():
            for place, atom in enumerate(dims):
                for leaf, path in _paths(atom, ""):
                    carried.setdefault(self._head(leaf), _name(name, place, path, dims))
        for leaf, name in carried.items():
            unique, number = name, 2
            while unique in taken:
                unique, number = f"{name}#{number}", number + 1
            taken.add(unique)
            self.names[leaf] = unique
        movable = [leaf for leaf in self.names if not leaf.pinned]
        self.movable = sorted(movable, key=lambda leaf: len(self._within(leaf)))

    def _head(self, leaf: Atom) -> Atom:
        """The atom that stands for a group: the first of merged ones."""
        return self.nesting.merged.get(leaf, (leaf,))[0]

    def _within(self, leaf: Atom) -> list[Atom]:
        deps = self.nesting.deps.get(leaf, set())
        heads = dict.fromkeys(self._head(a) for a in self.names if a in deps)
        return sorted(heads, key=lambda a: len(self.nesting.deps.get(a, ())))

    def groups(self) -> dict[str, Group]:
        """Return the movable groups, outer ones first."""
        found = {}
        for leaf in self.movable:
            size = 1
            for atom in self.nesting.merged.get(leaf, (leaf,)):
                size *= atom.size
            within = tuple(self.names[a] for a in self._within(leaf))
            found[self.names[leaf]] = Group(self.names[leaf], size, within)
        return found

    def axes(self) -> dict[str, int]:
        """Return the fixed axes that groups nest in."""
        outer = {a: None for leaf in self.movable for a in self._within(leaf) if a.pinned}
        return {self.names[a]: a.size for a in outer}

    def layouts(self, dims: Dims) -> tuple[Layout, ...]:
        """Return the public layouts of one tensor."""
        families = [root for root in walk(dims) if isinstance(root.form, Fam)]
        keys = dict.fromkeys(f.form.key.root for f in families if isinstance(f.form, Fam))
        marks = {key: _marks(key, families) for key in keys}
        labels = {key: f"k{i}" for i, key in enumerate(keys)}
        axes = set(self.axes())
        return tuple(self._layout(atom, marks, labels, axes) for atom in dims)

    def _layout(
        self, atom: Atom, marks: dict[Atom, list[int]], labels: dict[Atom, str], axes: set[str]
    ) -> Layout:
        root = atom.root

        def convert(part: Atom) -> Layout:
            return self._layout(part, marks, labels, axes)

        if root in marks:
            ranges = list(pairwise(marks[root]))
            if len(ranges) > 1:
                return SumLayout(tuple(convert(cut(root, *r)) for r in ranges), labels[root])
        match root.form:
            case Prod(factors):
                return _product([convert(f) for f in self._merged_factors(factors)])
            case Sum():
                return SumLayout(tuple(map(convert, flat_parts(root))))
            case Fam(key, _, _):
                ranges = pairwise(marks[key.root])
                members = [restrict(root, key, *r) for r in ranges]
                return Family(labels[key.root], tuple(map(convert, members)))
            case _:
                return self._leaf(root, axes)

    def _merged_factors(self, factors: Dims) -> Iterator[Atom]:
        """Yield the factors, of merged atoms only the one that stands for them."""
        for factor in factors:
            if self._head(factor.root) is factor.root or factor.root.form is not None:
                yield factor

    def _leaf(self, root: Atom, axes: set[str]) -> Layout:
        if root.size <= 1:
            return Fixed(root.size)
        name = self.names[self._head(root)]
        if root.pinned is None:
            size = 1
            for atom in self.nesting.merged.get(root, (root,)):
                size *= atom.size
            return Units(name, size)
        return Units(name, root.size) if name in axes else Fixed(root.size, _text(root.pinned))


def _product(factors: list[Layout]) -> Layout:
    opened: list[Layout] = []
    for factor in factors:
        opened += factor.factors if isinstance(factor, Product) else [factor]
    kept = [factor for factor in opened if factor.size != 1]
    if not kept:
        return Fixed(1)
    return kept[0] if len(kept) == 1 else Product(tuple(kept))


def _text(reason: Reason) -> str:
    return f"{reason.operator}: {reason.text}" if reason.operator else reason.text


def _paths(atom: Atom, path: str) -> Iterator[tuple[Atom, str]]:
    """Yield the leaves of a dimension with their place in it: `.0` a factor, `[0]` a part."""
    root = atom.root
    match root.form:
        case None:
            if root.size > 1:
                yield root, path
        case Prod(factors):
            for i, factor in enumerate(factors):
                yield from _paths(factor, f"{path}.{i}")
        case Sum(parts):
            for i, part in enumerate(parts):
                yield from _paths(part, f"{path}[{i}]")
        case Fam(_, _, members):
            for i, member in enumerate(members):
                yield from _paths(member, f"{path}[{i}]")


def _name(tensor: str, place: int, path: str, dims: Dims) -> str:
    """Return a group's name: its tensor's, the dimension where it is not the first, its path."""
    for suffix in SUFFIXES:
        if tensor.endswith(suffix) and len(tensor) > len(suffix):
            tensor = tensor.removesuffix(suffix)
            break
    earlier = any(not a.root.pinned and a.size > 1 for a in dims[:place])
    return f"{tensor}:{place}{path}" if earlier else f"{tensor}{path}"


def _refusals(solver: Solver, used: Mapping[str, Dims]) -> tuple[Refusal, ...]:
    """Return every refusal with the tensors it pinned."""
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for dims in solver.tensors:
        for root in walk(dims):
            if root.pinned and root.pinned.refused:
                found.setdefault((root.pinned.operator, root.pinned.location, root.pinned.text), {})
    for name, dims in used.items():
        for root in walk(dims):
            if root.pinned and root.pinned.refused:
                key = (root.pinned.operator, root.pinned.location, root.pinned.text)
                found.setdefault(key, {})[name] = None
    return tuple(Refusal(*key, tuple(tensors)) for key, tensors in found.items())
