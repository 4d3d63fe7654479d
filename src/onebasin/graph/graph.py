"""Graph of a traced model, which runs node by node with given parameters.

Describes each node: operator, module, inputs, and the layout of its output. Values of nodes are
available even if no module returns them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onebasin._checks import named_tensors
from onebasin._dtypes import common_dtype
from onebasin.errors import ArgumentError
from onebasin.graph._network_run import Bound, NetworkRun
from onebasin.graph._nodes import module_of, origins, shared, tensor_inputs, writes
from onebasin.graph.batches import arguments_of, device_of, dtype_of
from onebasin.graph.binding import bind_params, promote, promoted_dtype
from onebasin.symmetry._inference.inference import TracedGraph, trace_graph
from onebasin.symmetry._inference.nodes import operator_of
from onebasin.symmetry.symmetry import Symmetry

ForwardHook = Callable[[str, Tensor], None]
MultiForwardHook = Callable[[str, Sequence[Tensor]], Sequence[Tensor] | None]


@dataclass(frozen=True)
class Call:
    """A node before it is run.

    Args:
        name: name of the node.
        operator: the called operator.
        arguments: positional and keyword arguments of each network.
    """

    name: str
    operator: Callable[..., Any]
    arguments: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]


ForwardPreHook = Callable[[Call], None]


@dataclass(frozen=True)
class FeatureNode:
    """A node of the graph whose value is a tensor.

    Args:
        name: unique in the graph.
        operator: name without namespace and overload: `linear`, `relu`, `add`.
        module: path of the module whose forward pass the node belongs to, "" for the model.
        sources: names of its input nodes, including inputs of the model.
        parameters: names of its parameters and buffers.
    """

    name: str
    operator: str
    module: str
    sources: tuple[str, ...]
    parameters: tuple[str, ...]

    @property
    def label(self) -> str:
        """The path of the module with the operator, for messages."""
        return f"{self.module}.{self.operator}" if self.module else self.operator


class Graph:
    """The graph of a model for batches of one shape.

    In-place operators of the model also work in place here: a value is valid only during the
    call of `hook`, and must be cloned to be kept. Overwritten parameters and batches are copied
    first.

    Args:
        model: any module that `torch.export` supports; it does not change.
        inputs: one batch: a tensor (the one argument), a tuple (positional arguments) or a
            mapping (keyword arguments). It needs at least two examples, because the batch
            dimension of a single example is ambiguous.

    Raises:
        OneBasinError: `torch.export` does not support the model with these inputs.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        """Export the model and infer the layouts of all values in its graph."""
        self.model, self.device = model, device_of(model)
        args, kwargs = arguments_of(_in_order(inputs), self.device, dtype_of(model))
        self.traced: TracedGraph = trace_graph(model, args, kwargs)
        self.signature = signature_of(inputs)
        leaves = pytree.tree_leaves(arguments_of(inputs, self.device))
        self.shapes = tuple(tuple(x.shape) if isinstance(x, Tensor) else None for x in leaves)

    @property
    def symmetry(self) -> Symmetry:
        """The symmetry of the parameters, as `onebasin.infer_symmetry` returns it."""
        return self.traced.symmetry

    @property
    def features(self) -> Symmetry:
        """The same groups, with a layout for the value of every node by name."""
        return self.traced.features

    @cached_property
    def nodes(self) -> Mapping[str, FeatureNode]:
        """The nodes whose values are tensors, in the order of the forward pass."""
        tensors = self.traced.exported.tensors
        nodes = {}
        for node in self.traced.exported.graph_module.graph.nodes:
            if node.name in self.features.layouts:
                inputs = list(tensor_inputs(node))
                nodes[node.name] = FeatureNode(
                    name=node.name,
                    operator=operator_of(node),
                    module=module_of(node),
                    sources=tuple(name for name in inputs if name not in tensors),
                    parameters=tuple(tensors[name] for name in inputs if name in tensors),
                )
        return nodes

    def describe_node(self, name: str) -> str:
        """Return a description of a node for messages: its label and the source of its input.

        Args:
            name: name of a node. If other nodes have its label, the place includes the last
                node before it that has parameters.

        Example:
            >>> graph = Graph(nn.Linear(3, 2), torch.zeros(4, 3))
            >>> graph.describe_node("linear")
            "'linear'"
        """
        label = self.nodes[name].label if name in self.nodes else name
        if self._labels[label] < 2:
            return repr(label)
        before = self._before(name)
        return repr(label) if before is None else f"{label!r} after {self.nodes[before].label!r}"

    @cached_property
    def _labels(self) -> Counter[str]:
        return Counter(node.label for node in self.nodes.values())

    def _before(self, name: str) -> str | None:
        """Return the nearest preceding node with parameters."""
        nearest = list(self.nodes[name].sources)
        for source in nearest:  # grows during the iteration, nearest nodes first
            node = self.nodes.get(source)
            if node is not None and node.parameters:
                return source
            nearest += [each for each in node.sources if each not in nearest] if node else []
        return None

    @cached_property
    def calls(self) -> Mapping[str, torch.fx.Node]:
        """All nodes of the exported graph by name, with the arguments of their operators."""
        return {node.name: node for node in self.traced.exported.graph_module.graph.nodes}

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """The nodes that read the value of each node."""
        names: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for source in node.sources:
                if source in names:
                    names[source].append(node.name)
        return {name: tuple(readers) for name, readers in names.items()}

    @cached_property
    def data_dependent_nodes(self) -> frozenset[str]:
        """The nodes whose values depend on the examples, not on parameters alone."""
        given = set(self.traced.exported.inputs)
        for node in self.traced.exported.graph_module.graph.nodes:
            if any(source.name in given for source in node.all_input_nodes):
                given.add(node.name)
        return frozenset(given)

    def run(
        self, params: Mapping[str, Tensor], inputs: Any, hook: ForwardHook | None = None
    ) -> list[Tensor]:
        """Run the model on a batch, and pass every value to a hook.

        Args:
            params: a value for every parameter and buffer, as a state dict has them.
            inputs: a batch of the shapes of the graph.
            hook: called with name and value of every node in `nodes`.

        Returns:
            The counted outputs, flattened.

        Raises:
            OneBasinError: when the parameters or the shapes of the batch do not fit.
        """

        def visit_one(name: str, values: Sequence[Tensor]) -> None:
            if hook is not None:
                hook(name, values[0])

        return self.run_lockstep([params], inputs, visit_one)[0]

    def run_lockstep(
        self,
        params: Sequence[Mapping[str, Tensor]],
        inputs: Any,
        hook: MultiForwardHook | None = None,
        *,
        pre_hook: ForwardPreHook | None = None,
    ) -> list[list[Tensor]]:
        """Run several networks on a batch in lockstep, node by node.

        Only values for later nodes are kept, so features of many networks can be compared with
        little memory.

        Args:
            params: parameters and buffers of each network.
            inputs: a batch of the shapes of the graph.
            hook: function of the name and the values of every node in `nodes`; it may return
                other values, which later nodes then use.
            pre_hook: called with the arguments of every operator in `nodes`, before it is run.

        Returns:
            The flattened outputs of each network.

        Raises:
            OneBasinError: parameters or shapes of the batch do not fit.
        """
        runs = self.start(self.bind(params), inputs)
        with torch.no_grad():
            for node in self._order:
                is_visible = node.name in self.nodes
                if pre_hook is not None and is_visible and node.op == "call_function":
                    given = tuple(run.fetch_args_kwargs_from_env(node) for run in runs)
                    pre_hook(Call(node.name, cast(Callable[..., Any], node.target), given))
                values = [run.value_of(node) for run in runs]
                if hook is not None and is_visible:
                    values = hook(node.name, values) or values
                for run, value in zip(runs, values, strict=True):
                    run.keep(node, value)
        # Writes to buffers of the model come before its outputs.
        counted = [isinstance(n.meta.get("val"), Tensor) for n in self.traced.exported.outputs]
        return [run.outputs[-sum(counted) :] if any(counted) else [] for run in runs]

    def start(self, bound: Sequence[Bound], inputs: Any) -> list[NetworkRun]:
        """Return a run of each network on a batch, before its first node.

        Args:
            bound: result of `bind`.
            inputs: a batch of the shapes of the graph.

        Raises:
            OneBasinError: the shapes of the batch do not fit.
        """
        if signature_of(inputs) != self.signature:
            raise ArgumentError(
                f"the batch has shapes {signature_of(inputs)}, the graph was made for "
                f"{self.signature}; make one graph for each shape"
            )
        exported = self.traced.exported
        return [
            NetworkRun(
                exported.graph_module,
                self._order,
                self._placeholders(each, inputs),
                self._parameter_nodes,
                self.describe_node,
            )
            for each in bound
        ]

    @cached_property
    def _order(self) -> list[torch.fx.Node]:
        """The nodes to run: outputs, in-place writes and all nodes that they depend on."""
        needed = set(self.traced.exported.live)
        nodes = list(self.traced.exported.graph_module.graph.nodes)
        for node in reversed(nodes):
            if node in needed or (node.op == "call_function" and writes(node)):
                needed |= {node, *node.all_input_nodes}
        return [node for node in nodes if node.op != "call_function" or node in needed]

    def _placeholders(self, bound: Bound, inputs: Any) -> list[Any]:
        exported, precision = self.traced.exported, bound.precision
        dtype = precision or dtype_of(self.model)
        leaves = pytree.tree_leaves(arguments_of(_in_order(inputs), self.device, dtype))
        given = dict(zip(exported.inputs, leaves, strict=True))
        values: list[Any] = []
        for node in exported.graph_module.graph.find_nodes(op="placeholder"):
            if node.name in exported.tensors:
                value = bound.values[exported.tensors[node.name]]
            elif node.name in given:
                value = given[node.name]
            else:
                value = promote(exported.constants[node.name].to(self.device), precision)
            values.append(value.clone() if node.name in self._overwritten else value)
        return values

    @cached_property
    def _overwritten(self) -> frozenset[str]:
        """Parameters, constants and inputs that the model overwrites."""
        written = [
            source
            for node in self._order
            for source in shared(node, lambda alias: alias is not None and alias.is_write)
        ]
        return frozenset(node.name for source in written for node in origins(source))

    @cached_property
    def _parameter_nodes(self) -> frozenset[str]:
        """Nodes that depend neither on examples nor on overwritten values."""
        written = set(self._overwritten)
        for node in self._order:
            if any(source.name in written for source in node.all_input_nodes):
                written.add(node.name)
        return frozenset(self.calls) - self.data_dependent_nodes - written

    def bind(self, params: Sequence[Mapping[str, Tensor]]) -> list[Bound]:
        """Return the tensors of networks, all in the highest precision of any of them.

        Raises:
            OneBasinError: parameters do not fit.
        """
        bound = [self._bound(param) for param in params]
        precisions = {each.precision for each in bound if each.precision is not None}
        if len({each.precision for each in bound}) < 2:
            return bound
        precision = common_dtype(*precisions)
        return [Bound(promote(each.values, precision), precision) for each in bound]

    def _bound(self, params: Mapping[str, Tensor]) -> Bound:
        bound = bind_params(self.model, params)
        aliases = {id(t): name for name, t in named_tensors(self.model, all_names=False)}
        values = {
            name: bound.get(aliases[id(own)], own).to(self.device)
            for name, own in named_tensors(self.model)
        }
        return Bound(values, promoted_dtype(self.model, bound))


def signature_of(inputs: Any) -> tuple[Any, ...]:
    """Return the signature of a batch: shapes of tensors, and other values as text."""
    if isinstance(inputs, Mapping):
        return tuple((name, signature_of(value)) for name, value in _in_order(inputs).items())
    return tuple(
        tuple(leaf.shape) if isinstance(leaf, Tensor) else repr(leaf)
        for leaf in pytree.tree_leaves(inputs)
    )


def _in_order(inputs: Any) -> Any:
    """Return keyword arguments sorted by name."""
    return dict(sorted(inputs.items())) if isinstance(inputs, Mapping) else inputs
