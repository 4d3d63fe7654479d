"""The tensors of a model under the names in its checkpoints.

A state dict can differ from the parameters and buffers: hooks rename entries, extra state
adds entries that are not tensors, and a module can omit a frozen part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onebasin._checks import named_tensors


@dataclass(frozen=True)
class ModelState:
    """The saved tensors of a model and their names.

    Args:
        tensors: every tensor of the state dict, by its name in the state dict.
        state_names: the name in the state dict of each saved parameter and buffer, by its
            name in the module.
        parameters: names in `tensors` that are parameters.
    """

    tensors: Mapping[str, Tensor]
    state_names: Mapping[str, str]
    parameters: frozenset[str]


def model_state(model: nn.Module) -> ModelState:
    """Return the state of a model, with its own tensors rather than copies.

    An entry that is neither a parameter nor a buffer, such as the result of a hook, has no
    name in the module.

    Example:
        >>> state = model_state(nn.BatchNorm1d(2))
        >>> sorted(state.tensors)
        ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
        >>> sorted(state.parameters)
        ['bias', 'weight']
    """
    own = dict(named_tensors(model))
    tensors = {
        name: own[name] if name in own and _is_copy(value, own[name]) else value
        for name, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }
    by_id: dict[int, str] = {}
    for name, tensor in tensors.items():
        by_id.setdefault(id(tensor), name)
    state_names = {
        name: name if tensors.get(name) is tensor else by_id[id(tensor)]
        for name, tensor in own.items()
        if id(tensor) in by_id
    }
    parameters = {id(tensor) for tensor in model.parameters()}
    saved = frozenset(name for name, tensor in tensors.items() if id(tensor) in parameters)
    return ModelState(tensors, state_names, saved)


def _is_copy(value: Tensor, own: Tensor) -> bool:
    """Whether a state dict entry is a clone or a detached alias of the module's tensor."""
    if value is own:
        return True
    if value.shape != own.shape or value.dtype != own.dtype or value.is_meta or own.is_meta:
        return False
    return torch.equal(value.detach(), own.detach())
