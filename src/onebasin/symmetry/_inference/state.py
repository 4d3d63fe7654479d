"""Classification of a model's tensors as trained or constant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onebasin._checks import named_tensors
from onebasin.symmetry._inference.export import Exported
from onebasin.symmetry._isolation import shallow_clone
from onebasin.symmetry._model_state import ModelState

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
