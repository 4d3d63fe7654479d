"""Losses on data, differentiable with respect to the parameters.

Provides the mean loss of a batch and of all data for matchers, the statistics of normalization
layers, and the networks between two endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from onebasin._dtypes import compute_dtype
from onebasin.errors import ArgumentError, OneBasinError, check_choice
from onebasin.graph._normalization import layers_with_statistics, statistics_of
from onebasin.graph.batches import (
    IGNORE_INDEX,
    as_reiterable,
    call_on,
    device_of,
    inputs_of,
    is_empty,
    labels_of,
    output_of,
)
from onebasin.graph.binding import bind_params, evaluation_mode, input_dtype
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.symmetry.permutation import Permutation

Loss: TypeAlias = Literal["cross_entropy", "mse"] | Callable[[Tensor, Tensor], Tensor]
Normalization: TypeAlias = Literal["interpolated", "batch"]


class DataLoss:
    """The mean loss of a model on data, for any parameters.

    Args:
        model: the architecture; not changed.
        data: batches `(inputs, labels)` that can be read repeatedly.
        loss: `cross_entropy` (labels of -100 are ignored), `mse`, or a function of outputs and
            labels that returns one loss for each example or their mean.
        normalization: whether BatchNorm uses the statistics among the parameters
            (`interpolated`) or those of the batch, which predicts the loss after a reset.

    Raises:
        OneBasinError: the data are empty or can be read only once, or an option is invalid.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Iterable[Any],
        loss: Loss,
        *,
        normalization: Normalization,
    ) -> None:
        """Check the arguments; the model is not run."""
        check_choice("normalization", normalization, Normalization)
        if not callable(loss):
            check_choice("loss", loss, get_args(Loss)[0])
        self.model, self.data, self.loss = model, as_reiterable(data), loss
        self.normalization, self.device = normalization, device_of(model)
        if all(map(is_empty, data)):
            raise ArgumentError("the data has no batches; pass at least one")

    def of_batch(self, params: Mapping[str, Tensor], batch: Any, number: int) -> Float[Tensor, ""]:
        """Return the mean loss on a batch; gradients flow to the parameters, not to buffers.

        Args:
            params: a value for every parameter and buffer, on any device.
            batch: inputs and labels.
            number: number of the batch, for messages.

        Raises:
            OneBasinError: the batch has no labels, the model fails on it, or the loss is not
                finite.
        """
        inputs, labels = labeled(batch, number)
        try:
            outputs = output_of(self._run(params, inputs))
            loss = self._loss(outputs, torch.as_tensor(labels).to(outputs.device), number)
        except OneBasinError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise ArgumentError(
                f"the model does not run on batch {number} of the data: {reason}"
            ) from error
        if not isfinite(float(loss.detach())):
            raise ArgumentError(
                f"the loss on batch {number} of the data is {float(loss.detach())};"
                " check the data and the weights of both networks"
            )
        return loss

    @torch.no_grad()
    def mean(self, params: Mapping[str, Tensor]) -> float:
        """Return the mean loss over all labels, independent of the batch sizes.

        Raises:
            OneBasinError: all labels are ignored, or for the reasons of `of_batch`.
        """
        total, count = 0.0, 0
        for number, batch in enumerate(self.data):
            if is_empty(batch):
                continue
            loss = float(self.of_batch(params, batch, number))
            labels = labels_of(batch, number)
            size = (
                int((labels != IGNORE_INDEX).sum()) if self.loss == "cross_entropy" else len(labels)
            )
            total, count = total + loss * size, count + size
        if not count:
            raise ArgumentError(
                f"all labels are ignored (got {IGNORE_INDEX}); pass integer classes"
            )
        return total / count

    def _run(self, params: Mapping[str, Tensor], inputs: Any) -> Any:
        bound = bind_params(self.model, params)
        values = {name: value.to(self.device) for name, value in bound.items()}
        # PyTorch has no derivative of normalization with respect to given statistics.
        for name, _ in self.model.named_buffers():
            if name in values:
                values[name] = values[name].detach()
        with evaluation_mode(self.model), self._statistics(values):
            return call_on(
                lambda *args, **kwargs: functional_call(self.model, values, args, kwargs),
                inputs,
                self.device,
                input_dtype(self.model, bound),
            )

    @contextmanager
    def _statistics(self, values: dict[str, Tensor]) -> Iterator[None]:
        """Let normalization layers use batch statistics if requested, and discard their updates."""
        if self.normalization == "batch":
            layers = layers_with_statistics(self.model)
            for layer in layers.values():
                layer.training = True
            for name, own in statistics_of(layers).items():
                values[name] = values.get(name, own).detach().clone()
        yield

    def _loss(self, outputs: Tensor, labels: Tensor, number: int) -> Float[Tensor, ""]:
        if callable(self.loss):
            return self.loss(outputs, labels).mean()
        wide = outputs if outputs.dtype == torch.float64 else outputs.float()
        if self.loss == "mse":
            if wide.shape != labels.shape:
                raise ArgumentError(
                    f"outputs are {tuple(wide.shape)} and labels"
                    f" {tuple(labels.shape)}; mse needs one target for each output"
                )
            return F.mse_loss(wide, labels.to(wide.dtype))
        if labels.is_floating_point():
            raise ArgumentError(f"labels are {labels.dtype}; pass integer classes or another loss=")
        flat = labels.reshape(-1).long()
        counted = flat[flat != IGNORE_INDEX]
        if not len(counted):
            return wide.sum() * 0
        self._check_classes(counted, wide.shape[-1], number)
        return F.cross_entropy(wide.reshape(-1, wide.shape[-1]), flat)

    def _check_classes(self, labels: Int64[Tensor, " n"], num_classes: int, number: int) -> None:
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= num_classes:
            raise ArgumentError(
                f"invalid label {low if low < 0 else high} in batch {number} of the"
                f" data; the model has {num_classes} classes, use 0 to {num_classes - 1}, or"
                f" {IGNORE_INDEX} to ignore an example"
            )


def labeled(batch: Any, number: int) -> tuple[Any, Any]:
    """Return the inputs and the labels of a batch.

    Args:
        batch: a batch with inputs and labels.
        number: number of the batch, for messages.

    Raises:
        OneBasinError: the batch has no labels.
    """
    return inputs_of(batch), labels_of(batch, number)


class Endpoints:
    """Two complete networks with buffers, in float32 or better; tied tensors under one name.

    Args:
        pair: both networks, after `compute_stats`.
    """

    def __init__(self, pair: Pair) -> None:
        """Read both networks."""
        self.symmetry = pair.symmetry
        aliases = {name for names in pair.symmetry.tied for name in names[1:]}
        self.names = [name for name in pair.symmetry.layouts if name not in aliases]
        self.a, self.b = self._read(pair, "A"), self._read(pair, "B")
        self.moving = [name for name in self.names if name in self.b and name in self.a]
        self.moving = [name for name in self.moving if self.a[name].is_floating_point()]

    def _read(self, pair: Pair, side: str) -> dict[str, Tensor]:
        tensors = {}
        for name in self.names:
            if name in pair.names or name in pair.present[side]:
                tensor = pair.tensor(side, name)
                wide = compute_dtype(tensor.dtype, pair.dtype)
                tensors[name] = tensor.to(wide) if tensor.is_floating_point() else tensor
        return tensors

    def moved(self, permutation: Permutation) -> dict[str, Tensor]:
        """Return the floating-point tensors of B, permuted."""
        return {name: permutation.apply_tensor(name, self.b[name]) for name in self.moving}

    def between(self, moved: Mapping[str, Tensor], fraction: float = 0.5) -> dict[str, Tensor]:
        """Return the network at a fraction of the way from A to the permuted B."""
        return {
            name: _between(tensor, moved[name], fraction) if name in moved else tensor
            for name, tensor in self.a.items()
        }


def _between(a: Tensor, b: Tensor, fraction: float) -> Tensor:
    dtype = compute_dtype(a.dtype, b.dtype)
    return torch.lerp(a.to(dtype), b.to(dtype), fraction)
