"""Calls: the view of one operator that a typing rule receives.

A rule takes a `Call`, reads its arguments by their schema names, unifies and fixes atoms, and
returns the layouts of the outputs (one tuple of atoms per tensor).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor

from onebasin.symmetry._inference.algebra import ClashError, cut, factor, fix, restrict
from onebasin.symmetry._inference.atoms import ONE, Atom, Dims, Reason, fresh, product_of
from onebasin.symmetry._inference.unification import check_scope, unify


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor in the graph.

    Args:
        dims: the layout of every dimension.
        constant: returns the tensor's values if the graph determines them, else None.
        boolean: whether its entries are boolean; as an index it is a mask.
        dense: whether it is contiguous and starts at the beginning of its storage.
        sources: returns the names of the buffers that its known values depend on.
    """

    dims: Dims
    constant: Callable[[], Tensor | None] = lambda: None
    boolean: bool = False
    dense: bool = False
    sources: Callable[[], frozenset[str]] = frozenset

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(atom.size for atom in self.dims)


Result: TypeAlias = Dims | Sequence[Dims | None]


@dataclass(frozen=True, eq=False)
class Call:
    """One operator with its arguments.

    Args:
        operator: name with overload, for example `aten.view.default`.
        arguments: values by schema name, including defaults; tensors as `Value`.
        shapes: shape of every output tensor; None for outputs that are not tensors.
        location: location in the user's source.
        tensors: all layouts so far; rules add layouts that only exist inside an operator.
        created: the dimensions of outputs that `fixed` created.
        read: names of the arguments that the rule has read.
        used: indices of the outputs that the graph reads; None if all count as read.
        buffers: names of the buffers whose values a rule has used.
    """

    operator: str
    arguments: dict[str, Any]
    shapes: tuple[tuple[int, ...] | None, ...]
    location: str
    tensors: list[Dims]
    created: list[Atom] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    used: frozenset[int] | None = None
    buffers: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, or the default if this overload does not have it."""
        self.read.add(name)
        return self.arguments.get(name, default)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        assert self.shapes[0] is not None
        return self.shapes[0]

    @property
    def values(self) -> list[Value]:
        """Every tensor in the arguments, including lists; all arguments count as read."""
        self.read.update(self.arguments)
        return [value for argument in self.arguments.values() for value in _values_in(argument)]

    @property
    def first(self) -> Value:
        """The first tensor in the arguments; the others count as unread."""
        name = next(n for n, argument in self.arguments.items() if _values_in(argument))
        self.read.add(name)
        return _values_in(self.arguments[name])[0]

    @property
    def unread(self) -> list[str]:
        """Names of the unread arguments with tensors of more than one entry."""
        return [
            name
            for name, argument in self.arguments.items()
            if name not in self.read
            and any(atom.size > 1 for value in _values_in(argument) for atom in value.dims)
        ]

    def uses(self, place: int) -> bool:
        """Return whether the graph reads this output."""
        return self.used is None or place in self.used

    def reason(self, text: str, *, unsupported: bool = False) -> Reason:
        """Return a reason with this operator and its location."""
        return Reason(text, self.operator, self.location, unsupported)

    def unify(self, a: Atom, b: Atom) -> None:
        """Unify two dimensions."""
        unify(a, b, self.reason("incompatible layouts"))

    def unify_all(self, a: Iterable[Atom], b: Iterable[Atom]) -> None:
        """Unify dimensions pairwise."""
        for x, y in zip(a, b, strict=True):
            self.unify(x, y)

    def fix(self, atoms: Iterable[Atom], text: str, *, unsupported: bool = False) -> None:
        """Fix dimensions."""
        for atom in atoms:
            fix(atom, self.reason(text, unsupported=unsupported))

    def fixed(self, size: int, text: str) -> Atom:
        """Return an output dimension with fixed positions."""
        atom = fresh(size, self.reason(text))
        self.created.append(atom)
        return atom

    def mix(self, dims: Iterable[Atom]) -> None:
        """Record that the operator mixes over all dimensions of a tensor except these.

        Layouts cannot depend on the position in a dimension that is mixed over.
        """
        kept = tuple(dims)
        self.tensors.append(kept)
        check_scope(kept, self.reason("mixes positions"))

    def factor(self, atom: Atom, sizes: Sequence[int]) -> list[Atom]:
        """Split a dimension; if that would split its units, fix it."""
        try:
            return factor(atom, sizes)
        except ClashError as error:
            self.fix(error.atoms or [atom], f"reshaped across its units: {error}", unsupported=True)
            return self.factor(atom, sizes)

    def take(self, dims: Dims, dim: int, start: int, stop: int) -> Dims:
        """Return the layouts of a slice of a tensor along one dimension."""
        if (start, stop) == (0, dims[dim].size):
            return dims
        key = dims[dim].root
        if stop <= start:
            return tuple(Atom(0) if i == dim else atom for i, atom in enumerate(dims))
        piece = cut(key, start, stop)
        return tuple(
            piece if i == dim else restrict(atom, key, start, stop) for i, atom in enumerate(dims)
        )

    def regroup(self, dims: Sequence[Atom], sizes: Sequence[int]) -> Dims:
        """Return the layouts after a row-major reshape to `sizes`."""
        result: list[Atom] = []
        left, right = list(dims), list(sizes)
        if 0 in right:
            return tuple(fresh(size, self.reason("empty")) for size in right)
        while right:
            group, wanted = [], [right.pop(0)]
            have, want = 1, wanted[0]
            while have != want:
                if have < want:
                    group.append(left.pop(0))
                    have *= group[-1].size
                else:
                    wanted.append(right.pop(0))
                    want *= wanted[-1]
            same = len([size for size in wanted if size > 1]) == len(
                [a for a in group if a.size > 1]
            )
            if same and [s for s in wanted if s > 1] == [a.size for a in group if a.size > 1]:
                atoms = iter([atom for atom in group if atom.size > 1])
                result += [next(atoms) if size > 1 else ONE for size in wanted]
            else:
                result += self.factor(product_of(group), wanted)
        return tuple(result)


Rule: TypeAlias = Callable[[Call], Result]


def _values_in(argument: Any) -> list[Value]:
    items = argument if isinstance(argument, list | tuple) else [argument]
    return [item for item in items if isinstance(item, Value)]
