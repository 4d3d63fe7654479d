"""Statistics: running means and variances of normalisation layers, estimated anew.

A merged network's activations have other statistics than its parents'. Owns finding the
layers that keep such statistics and resetting them from data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase

from onebasin.errors import OneBasinError
from onebasin.forward.batches import call_on, device_of, inputs_of
from onebasin.forward.binding import bind, evaluation_mode, precision_of, widened


def layers_with_statistics(model: nn.Module) -> dict[str, _NormBase]:
    """Return the batch (and instance) normalisation layers that keep running statistics."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    }


def reset_statistics(
    model: nn.Module, params: Mapping[str, Tensor], data: Iterable[Any]
) -> dict[str, Tensor]:
    r"""Estimate the running statistics of all BatchNorm layers anew.

    One pass over the data; each statistic is the mean of its value over the K batches,
    \(\mu = \frac1K \sum_k \mu_k\), with every other layer in evaluation mode.

    Args:
        model: the architecture; not changed.
        params: a value for every parameter and buffer; not changed.
        data: batches, each the inputs or `(inputs, labels)`. Batches should be of equal and
            not too small size, as each counts the same.

    Returns:
        A new mapping with the names of `params`. Only the statistics differ; without a layer
        that keeps any, nothing does.

    Raises:
        OneBasinError: when there is no batch, or a batch is too small to have a variance.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> data = [torch.tensor([[1.0], [3.0]]), torch.tensor([[3.0], [5.0]])]
        >>> reset_statistics(model, model.state_dict(), data)["0.running_mean"]
        tensor([3.])
    """
    layers = layers_with_statistics(model)
    if not layers:
        return dict(params)
    values = bind(model, params)
    fresh = _initial(layers, values)
    values |= fresh
    num_batches = _run(model, layers, values, data)
    if not num_batches:
        raise OneBasinError("reset_statistics: the data has no batch; pass at least one")
    return {name: fresh.get(name, tensor) for name, tensor in params.items()}


def _initial(layers: Mapping[str, _NormBase], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return fresh statistics for the layers, on the devices of the old ones."""
    fresh = {}
    for name, layer in layers.items():
        for buffer, own in layer.named_buffers(recurse=False):
            path = f"{name}.{buffer}" if name else buffer
            old = values.get(path, own)
            fresh[path] = (
                torch.ones_like(old) if buffer == "running_var" else old.new_zeros(old.shape)
            )
    return fresh


def _run(
    model: nn.Module, layers: Mapping[str, _NormBase], values: dict[str, Tensor], data: Iterable
) -> int:
    """Run the model over the data; the layers update the statistics in `values`."""
    num_batches = 0
    with evaluation_mode(model), _cumulative(layers), torch.no_grad():
        for batch in data:
            try:
                call_on(
                    lambda *args, **kwargs: functional_call(model, values, args, kwargs),
                    widened(inputs_of(batch), precision_of(model, values)),
                    device_of(model),
                )
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                raise OneBasinError(
                    f"reset_statistics: batch {num_batches} has one value per channel and so no "
                    "variance; use larger batches or drop the last one"
                ) from error
            num_batches += 1
    return num_batches


@contextmanager
def _cumulative(layers: Mapping[str, _NormBase]) -> Iterator[None]:
    """Let the layers average their statistics over all batches, and restore them after."""
    kept = [(layer, layer.momentum) for layer in layers.values()]
    try:
        for layer, _ in kept:
            layer.training, layer.momentum = True, None
        yield
    finally:
        for layer, momentum in kept:
            layer.momentum = momentum
