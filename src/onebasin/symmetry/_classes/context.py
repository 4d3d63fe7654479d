"""One operator of a graph, with the sites of its operands and its output."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch.fx import Node

from onebasin.symmetry._classes.bounds import KEEPS_ONES, PERMUTATION, Bound
from onebasin.symmetry._classes.moves import Index, Source, flat, is_tensor, shape_of, unflat
from onebasin.symmetry._classes.relations import Relations, Site
from onebasin.symmetry._classes.sites import Place, Sites, ValueSites
from onebasin.symmetry._inference.nodes import named_arguments, operator_of

CONSTANTS = {
    **dict.fromkeys(("zeros", "zeros_like", "new_zeros"), ""),
    **dict.fromkeys(("full", "full_like", "new_full"), "fill_value"),
    "scalar_tensor": "s",
}
"""Operators that fill a tensor with a number, and the argument of the number; empty for zero."""


@dataclass(frozen=True)
class Context:
    """One operator.

    Args:
        node: the node whose value is the output.
        operator: name of the operator.
        given: arguments by name.
        sites: the sites of all values.
        relations: the relations, which rules extend.
        names: name of the value of each placeholder: its parameter or buffer.
        is_parameter: whether a node depends on parameters alone, and not on inputs.
        is_constant: whether a node depends on neither.
    """

    node: Node
    operator: str
    given: Mapping[str, Any]
    sites: Sites
    relations: Relations
    names: Mapping[Node, str]
    is_parameter: Callable[[Node], bool]
    is_constant: Callable[[Node], bool]

    def of(self, node: Node) -> ValueSites:
        """Return the sites of a value."""
        return self.sites.of(self.names.get(node, node.name))

    def operand(self, name: str) -> Node | None:
        """Return an operand that is a tensor, or None."""
        value = self.given.get(name)
        return value if is_tensor(value) else None

    @property
    def operands(self) -> Iterator[Node]:
        """The operands that are tensors, including those in lists."""
        for value in self.given.values():
            each = value if isinstance(value, list | tuple) else [value]
            yield from (node for node in each if is_tensor(node))

    @property
    def output(self) -> ValueSites:
        """The sites of the output."""
        return self.of(self.node)

    @property
    def shape(self) -> Index:
        """The shape of the output."""
        return shape_of(self.node)

    def restrict(self, node: Node, bound: Bound, *, dims: Collection[int] | None = None) -> None:
        """Restrict all maps of a value, or those in some of its dimensions."""
        for place in self.of(node).places:
            if dims is None or place.dim in dims:
                self.relations.restrict(place.site, bound, self.operator)

    def is_zero(self, node: Node) -> bool:
        """Return whether all entries of a value are zero."""
        name = operator_of(node)
        if name in ("_to_copy", "expand", "lift_fresh_copy", "detach", "alias"):
            return bool(node.all_input_nodes) and self.is_zero(node.all_input_nodes[0])
        if name not in CONSTANTS or node.op != "call_function":
            return False
        given = named_arguments(node, node.args, dict(node.kwargs))
        return not CONSTANTS[name] or given.get(CONSTANTS[name]) == 0

    def uniform(self, site: Site) -> None:
        """Note that all units have the same value at a site."""
        self.relations.uniform.add(site)
        self.relations.restrict(site, KEEPS_ONES, self.operator)

    def block(self) -> None:
        """Admit only permutations in all operands and in the output."""
        for node in (*self.operands, self.node):
            self.restrict(node, PERMUTATION)

    def source(self, place: Place, index: SourceOf) -> Site | None:
        """Return the site of an operand that units of the output come from.

        Args:
            place: units of the output.
            index: returns an operand and the entry that an entry of the output comes from.

        Returns:
            The site, or None if all units come from the same entry.
        """
        first, second = index(place.first), index(place.second)
        if first is None or second is None or first[1] == second[1]:
            return None
        site = None
        if first[0] is second[0]:
            site = self.of(first[0]).find(place.site.group, first[1], second[1])
        if site is None:
            self.relations.restrict(place.site, PERMUTATION, self.operator)
            self.restrict(first[0], PERMUTATION)
        return site

    def equal(
        self, index: SourceOf, *, ignored: Collection[int] = (), dims: Collection[int] | None = None
    ) -> None:
        """Let maps of the output be those of the entries that it comes from.

        Args:
            index: returns an operand and the entry that an entry of the output comes from.
            ignored: dimensions of the operand in which all entries are used.
            dims: dimensions of the output; all by default.
        """
        for place in self.output.places:
            if dims is not None and place.dim not in dims:
                continue
            if index(place.first) == index(place.second):
                self.uniform(place.site)
            for site in self.sources(place, index, ignored):
                self.relations.equal(place.site, site)

    def sources(self, place: Place, index: SourceOf, ignored: Collection[int]) -> set[Site]:
        """Return the sites of an operand that units of the output come from.

        Args:
            place: units of the output.
            index: as for `source`.
            ignored: dimensions of the operand in which all entries are used.
        """
        site = self.source(place, index)
        if site is None:
            return set()
        first, second = index(place.first), index(place.second)
        assert first is not None and second is not None
        operand = self.of(first[0])
        others = [each for each in operand.places if each.site.group == site.group]
        if len(others) == 1:
            return {site}
        found = {site}
        for other in others if ignored else ():
            pair = (_replaced(each[1], other.first, ignored) for each in (first, second))
            found.add(operand.find(site.group, *pair) or site)
        return found | self._along_axes(place, index, operand)

    def _along_axes(self, place: Place, index: SourceOf, operand: ValueSites) -> set[Site]:
        """Return the sites that other entries of the same units come from, along each axis."""
        found = set()
        block = self.output.blocks[place.site.block]
        for number, factor in enumerate(block.factors):
            steps = range(1, factor.size) if number != place.site.axis else ()
            for step in steps:
                sources = [index(each) for each in self._shifted(place, step * factor.stride)]
                entries = [each[1] for each in sources if each is not None]
                site = operand.find(place.site.group, *entries) if len(entries) == 2 else None
                if site is None:
                    self.relations.restrict(place.site, PERMUTATION, self.operator)
                else:
                    found.add(site)
        return found

    def _shifted(self, place: Place, distance: int) -> list[Index]:
        """Return the entries of both units of a place, moved by a distance."""
        shape = self.output.shape
        return [unflat(flat(each, shape) + distance, shape) for each in (place.first, place.second)]


def _replaced(index: Index, other: Index, dims: Collection[int]) -> Index:
    """Return an index with some of its places replaced by those of another."""
    return tuple(b if d in dims else a for d, (a, b) in enumerate(zip(index, other, strict=True)))


SourceOf: TypeAlias = Callable[[Index], Source | None]
