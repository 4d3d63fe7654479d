"""Correspondence of the values in a graph with the groups of a given symmetry.

A symmetry may be inferred elsewhere, written by hand, or without groups that failed verification.
Its groups are recognized by their parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from onebasin.errors import OneBasinError
from onebasin.graph.graph import Graph
from onebasin.symmetry._restriction import restrict
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Units, substituted
from onebasin.symmetry.symmetry import Symmetry


def features_in(graph: Graph, symmetry: Symmetry, *, call: str = "features") -> Symmetry:
    """Return the layouts of the values in a graph, in the groups of a symmetry.

    Args:
        graph: the traced model.
        symmetry: symmetry of the same architecture; other groups of the graph remain fixed.
        call: the public function that is running, for messages.

    Returns:
        A symmetry whose tensors are the nodes of the graph.

    Raises:
        OneBasinError: the symmetry is of another architecture, or has a group whose units do not
            move together in the graph.
    """
    if graph.symmetry.fingerprint == symmetry.fingerprint:
        return graph.features
    _check_shapes(graph.symmetry, symmetry, call)
    names = _names(graph.symmetry, symmetry, call)
    missing = {n: "not in the given symmetry" for n in graph.symmetry.groups if n not in names}
    return _renamed(restrict(graph.features, missing), names)


def _check_shapes(traced: Symmetry, symmetry: Symmetry, call: str) -> None:
    for name, shape in symmetry.shapes.items():
        if traced.shapes.get(name) != shape:
            raise OneBasinError(
                f"{call}: tensor {name!r} is {shape} in the symmetry but "
                f"{traced.shapes.get(name, 'missing')} in the model; pass the model that the "
                "symmetry is of"
            )


def _names(traced: Symmetry, symmetry: Symmetry, call: str) -> dict[str, str]:
    """Return the names of groups of the graph in the symmetry."""
    places = {place: name for name, place in _places(traced)}
    names: dict[str, str] = {}
    for name, place in _places(symmetry):
        if place in places and names.setdefault(places[place], name) != name:
            raise OneBasinError(
                f"{call}: the units of {names[places[place]]!r} and {name!r} must move together in "
                "this model; verify the symmetry first"
            )
    for name in symmetry.groups:
        if name not in names.values():
            raise OneBasinError(
                f"{call}: no value inside the model shows the units of {name!r}; verify the "
                "symmetry first, or match by weights"
            )
    return names


def _places(symmetry: Symmetry) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield the dimensions of tensors that carry each group."""
    for tensor, blocks in symmetry.blocks.items():
        for block in blocks:
            for factor in block.factors:
                if factor.group is not None and factor.group in symmetry.groups:
                    yield factor.group, (tensor, block.offset, factor.size, factor.stride)


def _renamed(symmetry: Symmetry, names: dict[str, str]) -> Symmetry:
    def rename(units: Units) -> Units:
        return Units(names.get(units.group, units.group), units.size)

    groups = {
        names.get(name, name): Group(
            names.get(name, name),
            group.size,
            tuple(names.get(outer, outer) for outer in group.nested_in),
        )
        for name, group in symmetry.groups.items()
    }
    layouts = {
        node: tuple(substituted(layout, rename) for layout in layouts)
        for node, layouts in symmetry.layouts.items()
    }
    return replace(symmetry, groups=groups, layouts=layouts)
