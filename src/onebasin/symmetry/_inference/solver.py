"""The solver: computes the layouts of all tensors of a model by running the typing rules.

Parameters start as free atoms, and inputs and selected outputs are fixed. Families whose key
is missing from a tensor are collapsed until nothing changes. All graphs of the model
constrain the same parameters.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from onebasin.symmetry._inference.algebra import fix
from onebasin.symmetry._inference.atoms import Dims, Reason, flat_factors, fresh, walk
from onebasin.symmetry._inference.calls import Call, Value
from onebasin.symmetry._inference.constants import Constants, used_names
from onebasin.symmetry._inference.export import Exported, location_of
from onebasin.symmetry._inference.nodes import is_getitem, named_arguments
from onebasin.symmetry._inference.rules import fix_operands, infer_layouts, rule_for
from onebasin.symmetry._inference.unification import check_scope, unify
from onebasin.symmetry._inference.unread import fix_unread, is_read
from onebasin.symmetry._modules import overlaps, storage_of

SUBGRAPHS = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4, "wrap": 0}
"""Higher-order operators that only run a subgraph, and the index of the subgraph argument."""


class Solver:
    """Layouts of all tensors and values in the exported graphs of one model.

    Args:
        graphs: the graphs; `values` belong to the first graph.
        state: every parameter and buffer by name, tied tensors under their first name.
        constant: names of buffers that training never writes.
        aliases: first names of tied tensors by their other names.
        fixed: dimensions to fix, by tensor name.
    """

    def __init__(
        self,
        graphs: Sequence[Exported],
        state: Mapping[str, Tensor],
        constant: frozenset[str],
        aliases: Mapping[str, str],
        fixed: Mapping[str, Collection[int]] | None = None,
    ) -> None:
        self.graphs = graphs
        self.aliases = aliases
        self.tensors: list[Dims] = []
        self.state = state
        self.constant = constant
        self.dims = {name: _parameter(tuple(tensor.shape)) for name, tensor in state.items()}
        self.tensors += self.dims.values()
        self.values: dict[Node, Any] = {}
        self.reads: list[list[Dims]] = [[] for _ in graphs]
        self._read: list[Dims] = []
        self.buffers: set[str] = set()
        self._held: dict[int | None, list[str]] = {}
        for name, tensor in state.items():
            self._held.setdefault(storage_of(tensor), []).append(name)
        for name in constant:
            _fix_varying(self.dims[name], state[name])
        for name, places in (fixed or {}).items():
            atoms = tuple(self.dims[name][place] for place in places)
            _fix_all(atoms, Reason("partitioned differently at other input shapes"))
        for a, b, order in overlaps(state):
            self._overlap(a, b, order)

    def _overlap(self, a: str, b: str, order: tuple[int, ...] | None) -> None:
        """Tie tensors that share memory: transposes are unified, other overlaps are fixed."""
        reason = Reason(f"{a} and {b} share memory", unsupported=order is None)
        if order is None:
            _fix_all((*self.dims[a], *self.dims[b]), reason)
        else:
            for atom, place in zip(self.dims[a], order, strict=True):
                unify(atom, self.dims[b][place], reason)

    def solve(self) -> None:
        """Run every rule once, then collapse families until convergence."""
        for graph, reads in zip(self.graphs, self.reads, strict=True):
            self._read = reads
            values = self._solve_graph(graph)
            self.values = self.values or values
        self._converge()
        while self._join_ambiguous():
            self._converge()
        while fix_unread(self.dims, self.live_names(), self.reads):
            self._converge()
        self._fix_constants()

    def unsupported_operators(self) -> set[str]:
        """Return the unsupported operators, whose operands were fixed."""
        roots = (root for dims in self.tensors for root in walk(dims))
        return {
            root.fixed_by.operator for root in roots if root.fixed_by and root.fixed_by.unsupported
        }

    def live_names(self) -> list[set[str]]:
        """Return for each graph the state tensors that its outputs depend on."""
        return [used_names([graph], self.aliases) for graph in self.graphs]

    def _converge(self) -> None:
        while any([check_scope(dims, Reason("used elsewhere")) for dims in self.tensors]):
            pass

    def _join_ambiguous(self) -> bool:
        """Collapse families that have no selected member in some block of a tensor."""
        reason = Reason("selected only in a part of the tensor")
        return any([check_scope(dims, reason, every_block=True) for dims in self.dims.values()])

    def _solve_graph(self, exported: Exported) -> dict[Node, Any]:
        placeholders = exported.graph_module.graph.find_nodes(op="placeholder")
        inputs = {node: self._placeholder(exported, node) for node in placeholders}
        values = self._run(exported.graph_module, inputs, exported.live)
        for node in exported.outputs:
            value = values.get(node)
            if isinstance(value, Value):
                self._read.append(value.dims)
                _fix_all(value.dims, Reason("an output of the model"))
        written = {node.name: value for node, value in inputs.items()}
        for node, name in exported.mutations:
            value, target = values.get(node), written.get(name)
            if isinstance(value, Value) and isinstance(target, Value):
                for a, b in zip(value.dims, target.dims, strict=True):
                    unify(a, b, Reason("a buffer written by forward"))
        return values

    def _fix_constants(self) -> None:
        """Fix atoms that occur only in constants: reordering equal entries is not a symmetry."""
        trained = [dims for name, dims in self.dims.items() if name not in self.constant]
        trained_roots = {root for dims in trained for root in walk(dims)}
        for name in self.constant:
            for root in walk(self.dims[name]):
                if root.form is None and root not in trained_roots:
                    fix(root, Reason("a constant of the model"))

    def _kept(self, name: str) -> str:
        return self.aliases.get(name, name)

    def _placeholder(self, exported: Exported, node: Node) -> Any:
        name = node.name
        if name in exported.tensors:
            kept = self._kept(exported.tensors[name])
            return _readable(exported, node, _valued(self.dims[kept], self.state[kept], kept))
        if name in exported.constants:
            return _readable(exported, node, self._constant(exported.constants[name]))
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return value
        reason = Reason("an input of the model")
        dims = tuple(fresh(int(size), reason) for size in value.shape)
        return Value(dims, boolean=value.dtype is torch.bool, dense=_is_dense(node))

    def _constant(self, tensor: Tensor) -> Value:
        """Return the value of a constant; one that is a parameter of a module is fixed."""
        dims = tuple(fresh(size) for size in tensor.shape)
        storage = storage_of(tensor)
        held = self._held.get(storage, []) if storage is not None else []
        if not held:
            _fix_varying(dims, tensor)
        for fixed in (dims, *(self.dims[name] for name in held)) if held else ():
            _fix_all(fixed, Reason("read by a reference outside of a module's parameters"))
        self.tensors.append(dims)
        return _valued(dims, tensor)

    def _run(
        self, module: GraphModule, inputs: Mapping[Node, Any], live: frozenset[Node] | None
    ) -> dict[Node, Any]:
        values: dict[Node, Any] = dict(inputs)
        constants = Constants(values)
        for node in module.graph.nodes:
            if node in values or (live is not None and node not in live):
                continue
            if node.op == "get_attr":
                values[node] = self._attribute(module, str(node.target))
            elif node.op == "call_function":
                values[node] = self._call(module, node, values, constants)
        return values

    def _attribute(self, module: GraphModule, name: str) -> Any:
        attribute: Any = module
        for part in name.split("."):
            attribute = getattr(attribute, part)
        return self._constant(attribute) if isinstance(attribute, Tensor) else attribute

    def _call(self, module: GraphModule, node: Node, values: dict, constants: Constants) -> Any:
        operands: Any = (node.args, node.kwargs)
        args, kwargs = torch.fx.map_arg(operands, values.get)
        if is_getitem(node):
            return args[0][args[1]] if args[0] is not None else None
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            return self._higher_order(node, args, kwargs)
        if not isinstance(node.target, torch._ops.OpOverload):
            return None
        call = Call(
            operator=str(node.target),
            arguments=named_arguments(node, args, kwargs),
            shapes=_shapes(node.meta.get("val")),
            location=location_of(node),
            tensors=self.tensors,
            used=_used(node),
            buffers=self.buffers,
        )
        if all(shape is None for shape in call.shapes):
            return None
        results = infer_layouts(rule_for(node.target), call)
        if is_read(node.target):
            self._read += [value.dims for value in call.values]
        outputs = tuple(
            None
            if dims is None
            else Value(
                dims,
                constants.thunk(node, i, len(results)),
                _is_boolean(node, i),
                _is_dense(node, i),
                partial(constants.sources, node),
            )
            for i, dims in enumerate(results)
        )
        self._note(call, outputs)
        return outputs if isinstance(node.meta.get("val"), list | tuple) else outputs[0]

    def _note(self, call: Call, outputs: tuple[Value | None, ...]) -> None:
        reason = call.reason("mixes positions")
        for value in outputs:
            if value is not None:
                self.tensors.append(value.dims)
                check_scope(value.dims, reason)
                self._note_rest(call, value.dims)
        for value in call.values:
            check_scope(value.dims, reason)

    def _note_rest(self, call: Call, dims: Dims) -> None:
        """Remove dependencies on an output dimension whose positions the call created."""
        created = {id(atom) for atom in call.created if atom.size > 1}
        factors = [(id(f), f) for atom in dims for f in flat_factors(atom)] if created else []
        if any(name in created for name, _ in factors):
            call.mix(factor for name, factor in factors if name not in created)

    def _higher_order(self, node: Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run a subgraph in place, and both branches of `cond`; other operators are unsupported."""
        place = SUBGRAPHS.get(node.target.name())  # type: ignore[union-attr]
        if place is not None:
            submodule, operands = args[place], args[place + 1 :]
            return self._subgraph(submodule, operands)
        if node.target.name() == "cond":  # type: ignore[union-attr]
            _, *branches, operands = args
            return self._joined(node, *(self._subgraph(each, operands) for each in branches))
        call = Call(
            operator=str(node.target),
            arguments={str(i): v for i, v in enumerate(pytree.tree_leaves((args, dict(kwargs))))},
            shapes=_shapes(node.meta.get("val")),
            location=location_of(node),
            tensors=self.tensors,
        )
        self._read += [value.dims for value in call.values]
        outputs = tuple(None if d is None else Value(d) for d in fix_operands(call))
        return outputs if isinstance(node.meta.get("val"), list | tuple) else outputs[0]

    def _joined(self, node: Node, first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
        """Return the results of two data-dependent branches, with unified layouts."""
        reason = Reason("data-dependent branches", "cond", location_of(node))
        for a, b in zip(first, second, strict=True):
            if isinstance(a, Value) and isinstance(b, Value):
                for x, y in zip(a.dims, b.dims, strict=True):
                    unify(x, y, reason)
        return [Value(a.dims) if isinstance(a, Value) else None for a in first]

    def _subgraph(self, submodule: GraphModule, operands: tuple[Any, ...]) -> Any:
        placeholders = submodule.graph.find_nodes(op="placeholder")
        values = self._run(submodule, dict(zip(placeholders, operands, strict=False)), None)
        returned = submodule.graph.output_node().args[0]
        return torch.fx.map_arg(returned, values.get)


def _parameter(shape: tuple[int, ...]) -> Dims:
    dims = tuple(fresh(size) for size in shape)
    for atom in dims:
        if atom.size > 1:
            atom.homes = frozenset([dims])
    return dims


def _fix_all(dims: Dims, reason: Reason) -> None:
    for atom in dims:
        fix(atom, reason)


def _fix_varying(dims: Dims, tensor: Tensor) -> None:
    """Fix a constant along the dimensions in which its values differ."""
    for i, atom in enumerate(dims):
        if not _is_uniform(tensor, i):
            fix(atom, Reason("a constant of the model"))


def _known(tensor: Tensor) -> Tensor | None:
    """Return the values of an integer constant, or None without values."""
    return None if _is_unreal(tensor) or tensor.is_floating_point() else tensor


def _valued(dims: Dims, tensor: Tensor, *names: str) -> Value:
    """Return a value with readable entries, of a named buffer or of a constant."""
    boolean = tensor.dtype is torch.bool
    return Value(dims, lambda: _known(tensor), boolean, sources=lambda: frozenset(names))


def _used(node: Node) -> frozenset[int] | None:
    """Return the indices of the outputs that the graph reads; None if all count as read."""
    if not isinstance(node.meta.get("val"), list | tuple):
        return None
    if not all(is_getitem(user) for user in node.users):
        return None
    return frozenset(int(user.args[1]) for user in node.users if user.users)  # type: ignore[arg-type]


def _readable(exported: Exported, node: Node, value: Value) -> Value:
    """Return a value whose entries are readable unless forward writes them."""
    mutated = any(name == node.name for _, name in exported.mutations)
    value = Value(value.dims, boolean=value.boolean) if mutated else value
    return replace(value, dense=_is_dense(node))


def _is_boolean(node: Node, place: int = 0) -> bool:
    value = _example(node, place)
    return isinstance(value, Tensor) and value.dtype is torch.bool


def _is_dense(node: Node, place: int = 0) -> bool:
    value = _example(node, place)
    return isinstance(value, Tensor) and value.is_contiguous() and value.storage_offset() == 0


def _example(node: Node, place: int) -> Any:
    """Return the metadata of one output of a node, usually a fake tensor."""
    value = node.meta.get("val")
    return value[place] if isinstance(value, list | tuple) else value


def _shapes(value: Any) -> tuple[tuple[int, ...] | None, ...]:
    outputs = value if isinstance(value, list | tuple) else [value]
    return tuple(
        tuple(int(size) for size in out.shape) if isinstance(out, Tensor) else None
        for out in outputs
    )


def _is_unreal(tensor: Tensor) -> bool:
    return tensor.is_meta or isinstance(tensor, torch._subclasses.FakeTensor)


def _is_uniform(tensor: Tensor, dim: int) -> bool:
    """Whether all slices along a dimension are equal; unknown values count as different."""
    if tensor.shape[dim] < 2 or math.prod(tensor.shape) == 0:
        return True
    return not _is_unreal(tensor) and bool((tensor == tensor.narrow(dim, 0, 1)).all())
