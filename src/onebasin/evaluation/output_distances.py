"""Distances between the outputs of networks, for data without labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from onebasin._checks import check_names, checks_arguments
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.graph.batches import as_iterable, inputs_of, is_empty, output_of, run_model
from onebasin.graph.binding import FunctionalModel


@dataclass(frozen=True)
class OutputDistance:
    r"""The distance of a network's outputs from reference outputs.

    With \(f(x)\) the outputs and \(r(x)\) the reference, the distance is
    \(\sqrt{\sum_x |f(x)-r(x)|^2 / \sum_x |r(x)-\bar r|^2}\). It is 0 for equal outputs and 1 for
    the best constant output.

    Args:
        distance: the distance.
        agreement: fraction of examples with the same largest output; NaN for a single output.
        num_examples: number of rows of outputs.
    """

    distance: float
    agreement: float
    num_examples: int


@checks_arguments
def compare_outputs(
    model: nn.Module,
    networks: Mapping[str, Mapping[str, Tensor]],
    data: Iterable[Any],
    *,
    reference: Sequence[str] | Mapping[str, float],
    models: Mapping[str, nn.Module] | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, OutputDistance]:
    """Compare the outputs of networks with the mean output of some of them.

    Args:
        model: the architecture; its own parameters are ignored.
        networks: parameters and buffers by name.
        data: batches; labels are ignored.
        reference: names of the networks whose mean output is the reference, or a weight for each
            name; the sum of the weights is 1.
        models: modules of networks with other sizes than `model`, by name.
        progress: called with the number of batches done.

    Returns:
        The distance of each network by name.

    Raises:
        OneBasinError: the parameters do not match the model, `reference` is empty or has an
            unknown name, or the data have no examples.

    Example:
        >>> networks = {"a": {"weight": torch.eye(2)}, "b": {"weight": -torch.eye(2)}}
        >>> model = nn.Linear(2, 2, bias=False)
        >>> compare_outputs(model, networks, [torch.eye(2)], reference=["a"])["b"].distance
        2.8284271247461903
    """
    check_names(
        "reference", list(reference) if isinstance(reference, Mapping) else reference, networks
    )
    if not reference:
        raise ArgumentError("reference is empty; name at least one network")
    shares = reference
    if not isinstance(shares, Mapping):
        shares = dict.fromkeys(reference, 1 / len(reference))
    models = models or {}
    bound = {
        name: FunctionalModel(models.get(name, model), params) for name, params in networks.items()
    }
    sums = {name: DistanceSums() for name in bound}
    spread = Spread()
    with torch.no_grad():
        for number, batch in enumerate(as_iterable(data)):
            if is_empty(batch):
                continue
            rows = {
                name: output_rows(output_of(run_model(each, inputs_of(batch))))
                for name, each in bound.items()
            }
            mean = torch.stack([share * rows[name] for name, share in shares.items()]).sum(0)
            spread.add(mean)
            for name, each in rows.items():
                sums[name].add(each, mean)
            if progress is not None:
                progress(number + 1)
    if not spread.count:
        raise ArgumentError("the data has no examples; pass at least one batch")
    return {name: each.result(spread) for name, each in sums.items()}


def output_rows(output: Tensor) -> Tensor:
    """Return outputs as float64 rows: one for each example, or for each token."""
    wide = output.double()
    return wide.flatten(0, -2) if wide.ndim > 1 else wide.reshape(-1, 1)


class Spread:
    """Sum of squared differences between rows and their mean, accumulated batch by batch."""

    def __init__(self) -> None:
        """Initialize without rows."""
        self.count = 0
        self._sum, self._squares = torch.zeros(()), 0.0

    def add(self, rows: Tensor) -> None:
        """Add rows.

        Raises:
            OneBasinError: their width differs from that of earlier rows.
        """
        if self._sum.ndim and self._sum.shape != rows.shape[1:]:
            raise OneBasinError(
                f"outputs have {len(self._sum)} entries a row in one batch and "
                f"{rows.shape[1]} in another; pad all inputs to one size"
            )
        self.count += len(rows)
        self._sum = self._sum.to(rows) + rows.sum(0)
        self._squares += float(rows.square().sum())

    @property
    def total(self) -> float:
        """The sum, clipped at 0."""
        return max(0.0, self._squares - float(self._sum.square().sum()) / max(self.count, 1))


class DistanceSums:
    """Squared differences and agreements of one network, accumulated batch by batch."""

    def __init__(self) -> None:
        """Initialize without rows."""
        self.squares, self.agreeing, self.has_choice = 0.0, 0, False

    def add(self, rows: Tensor, reference: Tensor) -> None:
        """Add rows of the network and of the reference."""
        self.squares += float((rows - reference).square().sum())
        self.has_choice = rows.shape[-1] > 1
        if self.has_choice:
            self.agreeing += int((rows.argmax(-1) == reference.argmax(-1)).sum())

    def result(self, spread: Spread) -> OutputDistance:
        """Return the distance relative to the spread of the reference."""
        if spread.total:
            distance = sqrt(self.squares / spread.total)
        else:
            distance = inf if self.squares else 0.0
        agreement = self.agreeing / spread.count if self.has_choice else nan
        return OutputDistance(distance, agreement, spread.count)
