"""Modules with other sizes: the tensors of a checkpoint determine the sizes of the layers."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from onebasin._checks import check_mapping, check_model, state_of
from onebasin.checkpoints import TiedView, tied_names
from onebasin.errors import ArgumentError, public


@public
def resize(model: nn.Module, params: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a module with the sizes and values of a network.

    Use it to load a network that `merge(size=...)` enlarged. Tensors get the shapes of the network.
    The sizes that PyTorch's layers store, such as `in_features`, are set to these shapes.
    A module whose forward pass has other sizes as constants may not run afterwards.

    Args:
        model: the architecture with its original sizes; not changed.
        params: parameters and buffers of the enlarged network, by the names of the model.

    Returns:
        The resized copy, in the mode (training or evaluation) of the model.

    Raises:
        OneBasinError: a tensor is missing, unknown, or has another number of dimensions.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> wide = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 2))
        >>> resize(model, wide.state_dict())[0]
        Linear(in_features=4, out_features=10, bias=True)
    """
    check_model(model)
    params = state_of(params)
    check_mapping(params, "params")
    resized = resized_to(model, {name: tuple(params[name].shape) for name in params})
    resized.load_state_dict(TiedView(params, tied_names(model)))
    return resized


def resized_to(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """Return a copy of a module with tensors of given shapes; the values of resized ones are zero.

    Args:
        model: the architecture; not changed.
        shapes: a shape for every tensor of the state dict; tied tensors need only one name.

    Raises:
        OneBasinError: a tensor is missing, unknown, or has another number of dimensions.
    """
    resized = deepcopy(model)
    known = resized.state_dict(keep_vars=True)
    for name in shapes:
        if name not in known:
            raise ArgumentError(
                f"tensor {name!r} is not in the model; pass the architecture of the network"
            )
    changed = _changed(known, shapes)
    for module in resized.modules():
        own = {**module._parameters, **module._buffers}
        resizable = {name: each for name, each in own.items() if id(each) in changed}
        for name, tensor in resizable.items():
            stored = module._parameters if name in module._parameters else module._buffers
            stored[name] = changed[id(tensor)][1]  # type: ignore[assignment]
        if resizable:
            _set_sizes(module, {name: each.shape for name, each in own.items() if each is not None})
    return resized


def _changed(
    known: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> dict[int, tuple[Tensor, Tensor]]:
    """Return each tensor that is resized with its new version, by the id of the old one."""
    new_shapes = {id(known[name]): (name, shape) for name, shape in shapes.items()}
    changed = {}
    for name, own in known.items():
        if id(own) not in new_shapes:
            raise ArgumentError(f"tensor {name!r} is missing; pass all tensors of the network")
        name, shape = new_shapes[id(own)]
        if len(shape) != own.dim():
            raise ArgumentError(
                f"tensor {name!r} has shape {shape} but {tuple(own.shape)} in the model; pass the "
                "architecture of the network"
            )
        if shape != tuple(own.shape):
            zeros = torch.zeros(shape, dtype=own.dtype, device=own.device)
            is_parameter = isinstance(own, nn.Parameter)
            new = nn.Parameter(zeros, requires_grad=own.requires_grad) if is_parameter else zeros
            changed[id(own)] = own, new
    return changed


def _set_sizes(module: nn.Module, old: Mapping[str, torch.Size]) -> None:
    """Set the sizes that a layer stores to those of its tensors.

    Args:
        module: a module whose tensors were resized.
        old: the shapes before.
    """
    new = {name: t.shape for name, t in module.named_parameters(recurse=False)}
    new |= {name: t.shape for name, t in module.named_buffers(recurse=False)}
    weight = new.get("weight")
    if isinstance(module, nn.Linear) and weight is not None:
        module.out_features, module.in_features = weight
    elif isinstance(module, nn.modules.conv._ConvNd) and weight is not None:
        _set_channels(module, old["weight"], weight)
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = len(next(shape for shape in new.values() if len(shape)))
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm) and weight is not None:
        module.normalized_shape = tuple(weight)
    elif isinstance(module, nn.GroupNorm) and weight is not None:
        module.num_channels = len(weight)
    elif isinstance(module, nn.Embedding) and weight is not None:
        module.num_embeddings, module.embedding_dim = weight
    elif type(module).__name__ == "Conv1D" and weight is not None:  # transformers
        module.nx, module.nf = weight  # type: ignore[assignment]


def _set_channels(module: nn.modules.conv._ConvNd, old: torch.Size, new: torch.Size) -> None:
    """Set the channels of a convolution; each channel of a depthwise one remains a group."""
    if module.groups > 1 and old[1] == new[1] and old[0] != new[0]:
        module.groups = module.groups * new[0] // old[0]
    if module.transposed:
        module.in_channels, module.out_channels = new[0], new[1] * module.groups
    else:
        module.out_channels, module.in_channels = new[0], new[1] * module.groups
