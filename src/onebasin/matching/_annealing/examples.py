"""Labeled batches in memory, and the energy of a network on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from onebasin.errors import OneBasinError, check_choice
from onebasin.graph.batches import is_empty, readable
from onebasin.matching._losses import DataLoss, Normalization, labeled

Energy = Literal["loss", "error"]


@dataclass(frozen=True, eq=False)
class Examples:
    """The energy of a network: its mean loss or error over labeled batches.

    Args:
        model: the architecture.
        batches: `(inputs, labels)` pairs.
        energy: "loss" (cross-entropy) or "error" (fraction of wrong answers).
        normalization: statistics of BatchNorm; see `DataLoss`.
        call: name of the public function, for messages.
    """

    model: nn.Module
    batches: tuple[tuple[Any, Tensor], ...]
    energy: Energy
    normalization: Normalization
    call: str

    def __call__(self, params: Mapping[str, Tensor]) -> float:
        """Return the energy of a network.

        Raises:
            OneBasinError: the parameters do not match the model, the model fails on a batch, or its
                loss is not finite.
        """
        return self._mean.mean(params)

    @cached_property
    def _mean(self) -> DataLoss:
        loss = "cross_entropy" if self.energy == "loss" else self._wrong
        return DataLoss(
            self.model, self.batches, loss, normalization=self.normalization, call=self.call
        )

    def _wrong(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if outputs.shape[:-1] != labels.shape:
            raise OneBasinError(
                f"{self.call}: shapes of outputs and labels do not match (got "
                f"{tuple(outputs.shape)} and {tuple(labels.shape)}); pass one class for each output"
            )
        return (outputs.argmax(-1) != labels).double()


def examples_of(
    model: nn.Module,
    data: Iterable[Any],
    energy: Energy,
    *,
    normalization: Normalization = "interpolated",
    call: str,
) -> Examples:
    """Return the energy on data, which is read once.

    Raises:
        OneBasinError: the data cannot be read or are empty, or labels are not classes.
    """
    check_choice(call, "energy", energy, Energy)
    check_choice(call, "normalization", normalization, Normalization)
    batches = []
    for number, batch in enumerate(readable(data, call)):
        if is_empty(batch):
            continue
        inputs, labels = labeled(batch, number, call)
        labels = torch.as_tensor(labels)
        if labels.is_floating_point() or labels.is_complex():
            raise OneBasinError(
                f"{call}: the labels of batch {number} are {labels.dtype}; pass integer classes"
            )
        batches.append((inputs, labels.long()))
    if not batches:
        raise OneBasinError(f"{call}: the data has no batches; pass at least one")
    return Examples(model, tuple(batches), energy, normalization, call)
