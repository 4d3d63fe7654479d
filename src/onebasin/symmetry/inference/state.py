"""State: which tensors of a model train, and which are constants."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onebasin.symmetry.inference.export import Exported
from onebasin.symmetry.isolation import isolated

RUNNING = ("running_mean", "running_var")


def constant_buffers(
    model: nn.Module,
    exported: Exported,
    state: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> frozenset[str]:
    """Return the names of the buffers in the state dict that training never writes.

    Running statistics of normalisation layers, frozen ones with all that is frozen beside
    them, and what a forward pass in training mode writes in place (the vectors of spectral
    norm) move with their channels; a table of frequencies or a mask does not.
    """
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    buffers = {name for name in state if name not in parameters}
    unsure = {n for n in buffers if state[n].dim()} - _running_statistics(exported)
    unsure -= _frozen_normalisations(unsure, state)
    if any(state[name].is_floating_point() for name in unsure):
        unsure -= _written_in_training(model, unsure, args, kwargs)
    return frozenset(unsure)


def _running_statistics(exported: Exported) -> set[str]:
    found = set()
    for node in exported.graph_module.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        for i, argument in enumerate(schema.arguments if schema is not None else ()):
            if argument.name in RUNNING and i < len(node.args) and node.args[i] is not None:
                found.add(exported.tensors.get(getattr(node.args[i], "name", ""), ""))
    return found


def _frozen_normalisations(buffers: set[str], state: Mapping[str, Tensor]) -> set[str]:
    """Return the statistics, scales and shifts of layers that keep all of them as buffers."""
    found = set()
    for name in buffers:
        module, dot, _ = name.rpartition(".")
        beside = [state.get(f"{module}{dot}{statistic}") for statistic in RUNNING]
        if all(tensor is not None and tensor.shape == state[name].shape for tensor in beside):
            found.add(name)
    return found


def _written_in_training(
    model: nn.Module, names: set[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> set[str]:
    """Run a training step's forward pass on meta copies and see which buffers it writes."""
    tensors = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }
    before = {name: tensors[name]._version for name in names if name in tensors}
    inputs = pytree.tree_map_only(Tensor, lambda t: t.to("meta"), (args, dict(kwargs)))
    with isolated(model) as own, torch.no_grad(), suppress(Exception):
        # Should this fail, what was written counts; the rest stays pinned, which is safe.
        torch.func.functional_call(own.train(), tensors, *inputs)
    return {name for name, version in before.items() if tensors[name]._version != version}


def doubled(inputs: Any) -> Any | None:
    """Return inputs with their batch of one repeated, or None where the batch is not one."""
    tensors = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    if not tensors or any(t.dim() < 2 or t.shape[0] != 1 for t in tensors):
        return None
    return pytree.tree_map_only(Tensor, lambda t: torch.cat([t, t]), inputs)
