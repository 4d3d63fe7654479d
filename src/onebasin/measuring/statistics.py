"""Statistics: running means and variances of normalisation layers, estimated anew.

A merged network's activations have other statistics than its parents'. Owns resetting
them from data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from onebasin.errors import OneBasinError
from onebasin.forward.batches import call_on, device_of, inputs_of, mixed, rereadable
from onebasin.forward.binding import bind, evaluation_mode, precision_of, widened
from onebasin.forward.normalization import layers_with_statistics
from onebasin.measuring.moments import UnitMoments

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def reset_statistics(
    model: nn.Module, params: Mapping[str, Tensor], data: Iterable[Any], *, exact: bool = False
) -> dict[str, Tensor]:
    r"""Estimate the running statistics of all BatchNorm layers anew.

    Each statistic is the mean and the (unbiased) variance of all values that its layer is given
    in one pass over the data, pooled, so that batches count by their size and differences
    between them count too. On the way every batch is normalised by its own statistics, as in
    training and in Jordan et al. (2022); every other layer is in evaluation mode. PyTorch's
    cumulative average (`momentum=None`) is the mean of the batches' variances instead, which
    is too low where batches differ.

    Laws: of the first normalisation layers the statistics depend neither on the order of the
    examples nor on the size of the batches, but for rounding; with `exact` those of all layers.

    Args:
        model: the architecture; not changed.
        params: a value for every parameter and buffer; not changed.
        data: batches, each the inputs or `(inputs, labels)`, not too small. `Batches` are read
            in an order of their own, drawn with a fixed seed, so that data sorted by class does
            no harm; let a DataLoader shuffle.
        exact: whether to read the data once for each normalisation layer, so that deeper ones,
            too, see what they are given in evaluation: all before them have their statistics.

    Returns:
        A new mapping with the names of `params`. Only the statistics differ; without a layer
        that keeps any, nothing does.

    Raises:
        OneBasinError: when there is no batch, a batch is too small to have a variance, or the
            data of `exact` can be read only once.

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
    names = {f"{layer}.{b}".lstrip(".") for layer in layers for b in BUFFERS}
    data = rereadable(data, "reset_statistics") if exact else data
    data = mixed(data)
    for number in range(len(layers) if exact else 1):
        values |= _run(model, layers, values, data, training=number == 0)
    return {name: values[name] if name in names else tensor for name, tensor in params.items()}


def _run(
    model: nn.Module,
    layers: Mapping[str, _NormBase],
    values: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    training: bool,
) -> dict[str, Tensor]:
    """Run the model over the data once, and return the statistics of what the layers are given."""
    found: dict[str, Any] = {}
    # In training mode layers write into their statistics.
    held = {**values, **(_copies(layers, values) if training else {})}
    num_batches = 0
    with evaluation_mode(model), _watched(layers, found, training=training), torch.no_grad():
        for batch in data:
            try:
                call_on(
                    lambda *args, **kwargs: functional_call(model, held, args, kwargs),
                    widened(inputs_of(batch), precision_of(model, held)),
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
    if not num_batches:
        raise OneBasinError("reset_statistics: the data has no batch; pass at least one")
    return _statistics(layers, values, found, num_batches)


def _copies(layers: Mapping[str, _NormBase], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = {
        f"{name}.{buffer}".lstrip("."): tensor
        for name, layer in layers.items()
        for buffer, tensor in layer.named_buffers(recurse=False)
    }
    return {path: values.get(path, tensor).clone() for path, tensor in own.items()}


def _statistics(
    layers: Mapping[str, _NormBase],
    values: Mapping[str, Tensor],
    found: Mapping[str, Any],
    num_batches: int,
) -> dict[str, Tensor]:
    """Return the buffers of the layers; of one that was given nothing, mean 0 and variance 1."""
    fresh = {}
    for name in layers:
        moments = found.get(name)
        for buffer in BUFFERS:
            path = f"{name}.{buffer}".lstrip(".")
            old = values.get(path)
            if old is None:
                continue
            if buffer == "num_batches_tracked":
                fresh[path] = torch.full_like(old, num_batches if moments else 0)
            elif moments is None:
                fresh[path] = torch.full_like(old, float(buffer == "running_var"))
            else:
                value = moments.mean if buffer == "running_mean" else moments.variance
                fresh[path] = value.to(old.device, old.dtype)
    return fresh


@contextmanager
def _watched(
    layers: Mapping[str, _NormBase], found: dict[str, Any], *, training: bool
) -> Iterator[None]:
    """Collect what the layers are given, and restore them after."""
    kept = [(layer, layer.momentum) for layer in layers.values()]
    hooks = [layer.register_forward_pre_hook(_hook(name, found)) for name, layer in layers.items()]
    try:
        for layer, _ in kept:
            layer.training, layer.momentum = training, None
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, momentum in kept:
            layer.momentum = momentum


def _hook(name: str, found: dict[str, Any]) -> Callable[[Any, Any], None]:
    def hook(layer: _NormBase, args: tuple[Tensor, ...]) -> None:
        if isinstance(layer, _InstanceNorm):
            batch = _InstanceMoments.of(args[0], layer)
        else:
            batch = UnitMoments.of(args[0], 1, 1.0)
        found[name] = found[name] + batch if name in found else batch

    return hook


@dataclass(frozen=True, eq=False)
class _InstanceMoments:
    """Means over instances, each normalised by itself, of their means and variances."""

    count: int
    mean: Float64[Tensor, " u"]
    variance: Float64[Tensor, " u"]

    @classmethod
    def of(cls, value: Tensor, layer: _InstanceNorm) -> _InstanceMoments:
        if value.dim() == layer._get_no_batch_dim():
            value = value.unsqueeze(0)
        rows = value.double().flatten(2)
        return cls(len(rows), rows.mean((0, 2)), rows.var(2).mean(0))

    def __add__(self, other: _InstanceMoments) -> _InstanceMoments:
        count = self.count + other.count
        share = other.count / count
        mean = torch.lerp(self.mean, other.mean, share)
        return _InstanceMoments(count, mean, torch.lerp(self.variance, other.variance, share))
