"""Lazy evaluation of tensors that do not depend on data or parameters.

Index tensors are often computed from `arange`. A rule that knows their values can treat them
as slices instead of fixing the indexed dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from onebasin._checks import named_tensors
from onebasin.symmetry._inference.calls import Value
from onebasin.symmetry._inference.export import Exported
from onebasin.symmetry._modules import ModelState, shallow_clone

RUNNING = ("running_mean", "running_var")


def with_state_names(exported: Exported, model: nn.Module, state: ModelState) -> Exported:
    """Return a graph whose tensors have the names of the state dict.

    A parameter or buffer that is missing from the state dict is a constant of the graph.
    """
    own = dict(named_tensors(model))
    tensors, constants = {}, dict(exported.constants)
    for node, name in exported.tensors.items():
        if name in state.state_names:
            tensors[node] = state.state_names[name]
        else:
            constants[node] = own[name]
    return replace(exported, tensors=tensors, constants=constants)


def used_names(graphs: Iterable[Exported], aliases: Mapping[str, str]) -> set[str]:
    """Return the state tensors that the selected outputs of any graph depend on."""
    names = {
        graph.tensors[node.name]
        for graph in graphs
        for node in graph.live
        if node.op == "placeholder" and node.name in graph.tensors
    }
    return {aliases.get(name, name) for name in names}


def constant_buffers(
    model: nn.Module,
    state: ModelState,
    exported: Exported,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> frozenset[str]:
    """Return the names of the state dict tensors that training never writes.

    Running statistics of normalization layers are permuted with their channels. This
    includes frozen layers whose parameters are all buffers, and buffers that a forward pass
    in training mode writes in place (the vectors of spectral norm). A table of frequencies
    or a mask is constant.

    Args:
        model: the model.
        state: its state.
        exported: its graph, with the names of the state dict.
        args, kwargs: example inputs.
    """
    tensors = state.tensors
    unsure = {n for n, t in tensors.items() if n not in state.parameters and t.dim()}
    unsure -= _running_statistics(exported)
    unsure -= _frozen_normalizations(unsure, tensors)
    if any(tensors[name].is_floating_point() for name in unsure):
        written = _written_in_training(model, args, kwargs)
        unsure -= {state.state_names.get(name) for name in written}
    return frozenset(unsure)


def _running_statistics(exported: Exported) -> set[str]:
    names = set()
    for node in exported.graph_module.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for i, argument in enumerate(schema.arguments if schema is not None else ()):
            if argument.name in RUNNING and i < len(node.args) and node.args[i] is not None:
                names.add(exported.tensors.get(getattr(node.args[i], "name", ""), ""))
    return names


def _frozen_normalizations(buffers: set[str], state: Mapping[str, Tensor]) -> set[str]:
    """Return the buffers of layers that store statistics, scale and shift as buffers."""
    names = set()
    for name in buffers:
        module, dot, _ = name.rpartition(".")
        statistics = [state.get(f"{module}{dot}{statistic}") for statistic in RUNNING]
        if all(tensor is not None and tensor.shape == state[name].shape for tensor in statistics):
            names.add(name)
    return names


def _written_in_training(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> set[str]:
    """Return the buffers that a forward pass in training mode writes, run on meta copies."""
    tensors = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in named_tensors(model, all_names=False)
    }
    before = {name: tensors[name]._version for name, _ in model.named_buffers()}
    inputs = pytree.tree_map_only(Tensor, lambda t: t.to("meta"), (args, dict(kwargs)))
    with shallow_clone(model) as own, torch.no_grad(), suppress(Exception):
        # If this fails, buffers written so far count; the others are fixed, which is safe.
        torch.func.functional_call(own.train(), tensors, *inputs)
    return {name for name, version in before.items() if tensors[name]._version != version}


def doubled(inputs: Any) -> Any | None:
    """Return inputs with a batch of one repeated, or None if the batch size is not one."""
    tensors = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    if not tensors or any(t.dim() < 2 or t.shape[0] != 1 for t in tensors):
        return None
    return pytree.tree_map_only(Tensor, lambda t: torch.cat([t, t]), inputs)


MAX_ENTRIES = 1 << 20


class _UnknownError(Exception):
    """The value depends on data or parameters."""


class Constants:
    """Evaluates nodes with known operands.

    Args:
        values: the solver's value of every node; constants contain their entries.
    """

    def __init__(self, values: Mapping[Node, Any]) -> None:
        self.values = values
        self.known: dict[Node, Any] = {}

    def thunk(self, node: Node, place: int, count: int) -> Callable[[], Tensor | None]:
        """Return a function that returns the value of one output of a node, or None."""

        def value() -> Tensor | None:
            try:
                result = self._evaluate(node)
            except (_UnknownError, RuntimeError, NotImplementedError, TypeError):
                return None
            result = result[place] if isinstance(result, list | tuple) and count else result
            return result if isinstance(result, Tensor) else None

        return value

    def sources(self, node: Node) -> frozenset[str]:
        """Return the names of the buffers that the value of a node depends on."""
        names: set[str] = set()
        seen, pending = set[Node](), [node]
        while pending:
            current = pending.pop()
            value = self.values.get(current)
            if current.op == "call_function":
                pending += [each for each in current.all_input_nodes if each not in seen]
                seen.update(current.all_input_nodes)
            elif isinstance(value, Value):
                names |= value.sources()
        return frozenset(names)

    def _evaluate(self, node: Node) -> Any:
        if node not in self.known:
            self.known[node] = self._compute(node)
        return self.known[node]

    def _compute(self, node: Node) -> Any:
        if node.op != "call_function":
            value = self.values.get(node)
            known = value.constant() if isinstance(value, Value) else value
            if known is None:
                raise _UnknownError(node.name)
            return known
        example = node.meta.get("val")
        if isinstance(example, Tensor) and prod(map(int, example.shape)) > MAX_ENTRIES:
            raise _UnknownError(node.name)
        if not node.all_input_nodes and "rand" in str(node.target):
            raise _UnknownError(node.name)
        args, kwargs = torch.fx.map_arg((node.args, dict(node.kwargs)), self._evaluate)
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        return node.target(*args, **kwargs)  # type: ignore[operator]
