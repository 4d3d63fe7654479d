"""Running means and variances of normalization layers, recomputed on data.

The activations of a merged network have other statistics than those of its sources.
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

from onebasin._checks import checks_arguments
from onebasin._dtypes import all_finite
from onebasin._text import one_line
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.evaluation._moments import UnitMoments
from onebasin.evaluation.output_distances import DistanceSums, Spread, output_rows
from onebasin.graph._normalization import layers_with_statistics, path_of, statistics_of
from onebasin.graph.batches import (
    as_iterable,
    as_reiterable,
    call_on,
    inputs_of,
    is_empty,
    output_of,
    run_model,
    shuffled,
)
from onebasin.graph.binding import (
    FunctionalModel,
    bind_params,
    evaluation_mode,
    first_names,
    input_dtype,
)


@checks_arguments
def reset_statistics(
    model: nn.Module, params: Mapping[str, Tensor], data: Iterable[Any], *, exact: bool = False
) -> dict[str, Tensor]:
    """Recompute the running statistics of all BatchNorm layers on data.

    Each statistic is the mean and the (unbiased) variance of all inputs of its layer in one pass
    over the data. Values are pooled, so batches are weighted by their size and differences
    between them are included. During the pass, every batch is normalized by its own statistics,
    as in training and in Jordan et al. (2022); all other layers are in evaluation mode. PyTorch's
    cumulative average (`momentum=None`) is the mean of the batches' variances instead, which is
    too low if batches differ.

    Laws: up to rounding, the statistics of the first normalization layers depend neither on the
    order of the examples nor on the batch size; with `exact` those of all layers.

    Args:
        model: the architecture; not changed.
        params: a value for every parameter and buffer; not changed.
        data: batches of inputs or `(inputs, labels)`, not too small. `Batches` are shuffled with
            a fixed seed, so data may be sorted by class; for a DataLoader use `shuffle=True`.
            Empty batches are skipped.
        exact: whether to read the data once for each normalization layer, with all previous
            layers in evaluation mode.

    Returns:
        A new mapping with the names of `params`; tied names have equal values. Only the statistics
        differ. They have the precision of the model, or better.

    Raises:
        OneBasinError: the data are empty or not finite, the model fails on a batch, a batch is
            too small for a variance, or the data can be read only once with `exact`.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> data = [torch.tensor([[1.0], [3.0]]), torch.tensor([[3.0], [5.0]])]
        >>> reset_statistics(model, model.state_dict(), data)["0.running_mean"]
        tensor([3.])
    """
    return fresh_statistics(model, params, data, exact=exact)


def fresh_statistics(
    model: nn.Module,
    params: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    exact: bool = False,
) -> dict[str, Tensor]:
    """Implementation of `reset_statistics` for other public functions.

    Args:
        model: as for `reset_statistics`.
        params: as for `reset_statistics`.
        data: as for `reset_statistics`.
        exact: as for `reset_statistics`.
    """
    layers = layers_with_statistics(model)
    if not layers:
        return dict(params)
    values, first = bind_params(model, params), first_names(model)
    data = shuffled(as_reiterable(data) if exact else as_iterable(data))
    fresh: dict[str, Tensor] = {}
    for number in range(len(layers) if exact else 1):
        held = {**values, **fresh}
        fresh = _run(model, layers, held, data, training=number == 0)
    return {name: fresh.get(first.get(name, name), tensor) for name, tensor in params.items()}


def _run(
    model: nn.Module,
    layers: Mapping[str, _NormBase],
    values: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    training: bool,
) -> dict[str, Tensor]:
    """Run the model over the data once, and return the statistics of the layers' inputs."""
    layer_moments: dict[str, Any] = {}
    # In training mode, layers update their statistics in place.
    own = statistics_of(layers) if training else {}
    held = {**values, **{name: values.get(name, each).clone() for name, each in own.items()}}
    device = next(iter(values.values())).device
    precision, num_batches = input_dtype(model, held), 0
    with (
        evaluation_mode(model),
        _watched(layers, layer_moments, training=training),
        torch.no_grad(),
    ):
        for number, batch in enumerate(data):
            if is_empty(batch):
                continue
            try:
                call_on(
                    lambda *args, **kwargs: functional_call(model, held, args, kwargs),
                    inputs_of(batch),
                    device,
                    precision,
                )
            except OneBasinError:
                raise
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                raise ArgumentError(_failure_reason(error, number)) from error
            num_batches += 1
    if not num_batches:
        raise ArgumentError("the data has no batch; pass at least one")
    _check_finite(layer_moments, values)
    return {
        name: value
        for layer in layers
        for name, value in _statistics(layer, values, layer_moments.get(layer), num_batches).items()
    }


def _failure_reason(error: Exception, number: int) -> str:
    if "more than 1 value per channel" in str(error):
        return (
            f"batch {number} has one value per channel and no variance; use larger batches or "
            "drop the last one"
        )
    return f"the model does not run on batch {number} of the data: {one_line(error)}"


def _check_finite(layer_moments: Mapping[str, Any], values: Mapping[str, Tensor]) -> None:
    """Check that the inputs of layers are finite if the parameters are."""
    broken = [
        layer
        for layer, moments in layer_moments.items()
        if not bool(torch.isfinite(moments.mean + moments.variance).all())
    ]
    if broken and all(map(all_finite, values.values())):
        raise ArgumentError(
            f"the inputs of layer {broken[0]!r} are not finite, but the parameters are; "
            "check the data"
        )


def _statistics(
    layer: str, values: Mapping[str, Tensor], moments: Any, num_batches: int
) -> dict[str, Tensor]:
    """Return the buffers of a layer; mean 0 and variance 1 for a layer without inputs."""
    statistics: dict[str, Any] = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0}
    if moments is not None:
        statistics = dict(
            zip(statistics, (moments.mean, moments.variance, num_batches), strict=True)
        )
    fresh = {}
    for buffer, value in statistics.items():
        old = values.get(path_of(layer, buffer))
        if old is not None:
            new = torch.as_tensor(value).to(old.device, old.dtype)
            fresh[path_of(layer, buffer)] = new.expand_as(old).clone()
    return fresh


@contextmanager
def _watched(
    layers: Mapping[str, _NormBase], layer_moments: dict[str, Any], *, training: bool
) -> Iterator[None]:
    """Collect the inputs of the layers; layers normalize by batches only in training mode."""
    hooks = [
        layer.register_forward_pre_hook(_hook(name, layer_moments))
        for name, layer in layers.items()
    ]
    try:
        for layer in layers.values():
            layer.training = training
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(name: str, layer_moments: dict[str, Any]) -> Callable[[Any, Any], None]:
    def hook(layer: _NormBase, args: tuple[Tensor, ...]) -> None:
        if isinstance(layer, _InstanceNorm):
            batch = _InstanceMoments.of(args[0], layer)
        else:
            batch = UnitMoments.of(args[0], 1, 1.0)
        layer_moments[name] = layer_moments[name] + batch if name in layer_moments else batch

    return hook


@dataclass(frozen=True, eq=False)
class _InstanceMoments:
    """Means over instances of their means and variances."""

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
        fraction = other.count / count
        mean = torch.lerp(self.mean, other.mean, fraction)
        return _InstanceMoments(count, mean, torch.lerp(self.variance, other.variance, fraction))


LARGE_DIFFERENCE = 0.5
"""A larger difference means that the data differ from the training data."""


@torch.no_grad()
def reset_difference(
    model: nn.Module, params: Mapping[str, Tensor], data: Iterable[Any]
) -> float | None:
    r"""Return how much the outputs of a network change when its statistics are reset on data.

    The difference of outputs \(y\) (as trained) and \(y'\) (after the reset) is
    \(\|y' - y\| / \|y - \bar y\|\) over all examples, or tokens. \(\bar y\) is the mean output.
    It is 0 for equal outputs and about 1 or more for unrelated ones. It is small on data with the
    normalization of the training.

    Args:
        model: the architecture; not changed.
        params: parameters and buffers of the network.
        data: batches of inputs, with or without labels; read twice.

    Returns:
        The difference; None for a network without running statistics.

    Raises:
        OneBasinError: the data can be read only once, the model fails on a batch, or the width of
            its outputs changes between batches.
    """
    if not layers_with_statistics(model):
        return None
    batches = as_reiterable(data)
    before = FunctionalModel(model, params)
    after = FunctionalModel(model, fresh_statistics(model, params, batches))
    sums, spread = DistanceSums(), Spread()
    for batch in batches:
        if not is_empty(batch):
            inputs = inputs_of(batch)
            old, new = (output_rows(output_of(run_model(each, inputs))) for each in (before, after))
            spread.add(old)
            sums.add(new, old)
    return sums.result(spread).distance
