"""Examples: labeled batches that are kept, and the energy of any network on them."""

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
        energy: "loss" (cross-entropy) or "error" (share of wrong answers).
        normalization: which statistics BatchNorm uses; see `DataLoss`.
        call: the public function that is running, for messages.
    """

    model: nn.Module
    batches: tuple[tuple[Any, Tensor], ...]
    energy: Energy
    normalization: Normalization
    call: str

    def __call__(self, params: Mapping[str, Tensor]) -> float:
        """Return the energy of a network.

        Raises:
            OneBasinError: when the parameters do not fit the model, the model refuses a
                batch, or its loss is not finite.
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
                f"{self.call}: the outputs are {tuple(outputs.shape)} and the labels "
                f"{tuple(labels.shape)}; an error needs one class for each output"
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
        OneBasinError: when it cannot be read, has no batches, or a batch has no classes.
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
                f"{call}: the labels of batch {number} are {labels.dtype}; the energy needs classes"
            )
        batches.append((inputs, labels.long()))
    if not batches:
        raise OneBasinError(f"{call}: the data has no batches; pass at least one")
    return Examples(model, tuple(batches), energy, normalization, call)
