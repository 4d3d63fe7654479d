"""The class of each group of a traced model, and its action on every tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.fx import Node

from onebasin.symmetry._classes.context import Context
from onebasin.symmetry._classes.moves import is_tensor
from onebasin.symmetry._classes.relations import Relations
from onebasin.symmetry._classes.rules import RULES, part
from onebasin.symmetry._classes.sites import Sites
from onebasin.symmetry._inference.export import Exported
from onebasin.symmetry._inference.nodes import (
    getitem_number,
    is_getitem,
    named_arguments,
    operator_of,
)
from onebasin.symmetry.layouts import Layout
from onebasin.symmetry.symmetry import Symmetry


def relate(
    exported: Exported,
    symmetry: Symmetry,
    features: Mapping[str, Sequence[Layout]],
    names: Mapping[str, str],
) -> Relations:
    """Return the relations of the maps at all sites of a graph.

    Args:
        exported: the graph.
        symmetry: its groups, and the layouts of parameters and buffers.
        features: layouts of the values of nodes.
        names: name of the parameter or buffer of each placeholder; tied tensors under one name.
    """
    return _Typing(exported, symmetry, features, names).relations


@dataclass
class _Typing:
    """One pass over a graph."""

    exported: Exported
    symmetry: Symmetry
    features: Mapping[str, Sequence[Layout]]
    names: Mapping[str, str]
    relations: Relations = field(default_factory=Relations)

    def __post_init__(self) -> None:
        """Apply the rule of every node."""
        self.sites = Sites({**self.features, **self.symmetry.layouts}, self.symmetry.groups)
        graph = self.exported.graph_module.graph
        self.values = {
            node: self.names[node.name]
            for node in graph.find_nodes(op="placeholder")
            if node.name in self.names
        }
        self._depends: dict[Node, tuple[bool, bool]] = {}
        for node in graph.nodes:
            self._note(node)
            if node in self.exported.live and node.op not in ("placeholder", "output"):
                self._apply(node)

    def _note(self, node: Node) -> None:
        """Note whether a node depends on inputs and on parameters."""
        if node.op == "placeholder":
            is_input = node.name in self.exported.inputs
            self._depends[node] = (is_input, node in self.values)
            return
        sources = node.all_input_nodes
        if operator_of(node) in ("type_as", "expand_as", "view_as"):
            sources = sources[:1]
        known = [self._depends[each] for each in sources]
        self._depends[node] = (any(a for a, _ in known), any(b for _, b in known))

    def _apply(self, node: Node) -> None:
        """Apply the rule of a node."""
        source = node.all_input_nodes[0] if is_getitem(node) else node
        name = operator_of(node)
        context = Context(
            node=node,
            operator=name,
            given=named_arguments(source, source.args, dict(source.kwargs)),
            sites=self.sites,
            relations=self.relations,
            names=self.values,
            is_parameter=lambda each: self._depends[each] == (False, True),
            is_constant=lambda each: self._depends[each] == (False, False),
        )
        if not isinstance(source.target, torch._ops.OpOverload):
            return context.block()
        number = getitem_number(node) if is_getitem(node) else 0
        if not is_tensor(node):
            return None  # its outputs are nodes of their own, or it has none
        if is_getitem(node) and part(context, number):
            return None
        rule = RULES.get(name)
        if rule is None or number != 0:
            return context.block()
        try:
            rule(context)
        except (AssertionError, KeyError, IndexError, ValueError, TypeError):
            context.block()
