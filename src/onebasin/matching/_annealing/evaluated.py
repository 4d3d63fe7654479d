"""States that evaluate the networks in full after every swap, for any network and energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from onebasin._dtypes import compute_dtype
from onebasin.errors import ArgumentError, check_choice
from onebasin.graph.batches import as_iterable, is_empty
from onebasin.matching._annealing.state import AnnealingState, NetworkIndices, Swap, transposition
from onebasin.matching._losses import DataLoss, Normalization, labeled
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

Energy = Literal["loss", "error"]


@dataclass(frozen=True, eq=False)
class Examples:
    """The energy of a network: its mean loss or error over labeled batches.

    Args:
        model: the architecture.
        batches: `(inputs, labels)` pairs.
        energy: "loss" (cross-entropy) or "error" (fraction of wrong answers).
        normalization: statistics of BatchNorm; see `DataLoss`.
    """

    model: nn.Module
    batches: tuple[tuple[Any, Tensor], ...]
    energy: Energy
    normalization: Normalization

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
        return DataLoss(self.model, self.batches, loss, normalization=self.normalization)

    def _wrong(self, outputs: Tensor, labels: Tensor) -> Tensor:
        if outputs.shape[:-1] != labels.shape:
            raise ArgumentError(
                f"shapes of outputs and labels do not match (got "
                f"{tuple(outputs.shape)} and {tuple(labels.shape)}); pass one class for each output"
            )
        return (outputs.argmax(-1) != labels).double()


def examples_of(
    model: nn.Module,
    data: Iterable[Any],
    energy: Energy,
    *,
    normalization: Normalization = "interpolated",
) -> Examples:
    """Return the energy on data, which is read once.

    Raises:
        OneBasinError: the data cannot be read or are empty, or labels are not classes.
    """
    check_choice("energy", energy, Energy)
    check_choice("normalization", normalization, Normalization)
    batches = []
    for number, batch in enumerate(as_iterable(data)):
        if is_empty(batch):
            continue
        inputs, labels = labeled(batch, number)
        labels = torch.as_tensor(labels)
        if labels.is_floating_point() or labels.is_complex():
            raise ArgumentError(
                f"the labels of batch {number} are {labels.dtype}; pass integer classes"
            )
        batches.append((inputs, labels.long()))
    if not batches:
        raise ArgumentError("the data has no batches; pass at least one")
    return Examples(model, tuple(batches), energy, normalization)


Params = Mapping[str, Tensor]
Mixtures = tuple[tuple[int, ...], ...]
"""Networks of each average; the energy of a state is the mean over all averages."""


class EvaluatedState(AnnealingState):
    """A state whose energy is that of averages of the permuted networks.

    Args:
        symmetry: symmetry of the architecture.
        networks: parameters and buffers of each network.
        indices: the initial indices.
        mixtures: networks of each average.
        evaluate: energy of an average.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        networks: Sequence[Params],
        indices: NetworkIndices,
        mixtures: Mixtures,
        evaluate: Callable[[Params], float],
    ) -> None:
        """Permute the networks and evaluate their averages."""
        self.symmetry, self.mixtures, self.evaluate = symmetry, mixtures, evaluate
        self.permutations = [Permutation(symmetry, index) for index in indices]
        self.moved: list[Params] = [
            permutation.apply(params)
            for permutation, params in zip(self.permutations, networks, strict=True)
        ]
        self.averages = [average([self.moved[m] for m in mixture]) for mixture in mixtures]
        super().__init__(sum(map(evaluate, self.averages)) / len(mixtures))

    @property
    def indices(self) -> NetworkIndices:
        """The current indices."""
        return tuple(dict(permutation.indices) for permutation in self.permutations)

    def propose(self, swaps: Sequence[Swap]) -> float:
        """Return the energy after swaps."""
        moved, permutations, touched = list(self.moved), list(self.permutations), set[str]()
        for network in {swap.network for swap in swaps}:
            own = [swap for swap in swaps if swap.network == network]
            step = transposition(self.symmetry, own)
            names = self._carriers(own, moved[network])
            changes = {name: step.apply_tensor(name, moved[network][name]) for name in names}
            moved[network] = {**moved[network], **changes}
            permutations[network] = step @ permutations[network]
            touched |= names
        averages = [
            {**known, **average([{n: moved[m][n] for n in touched} for m in mixture])}
            for known, mixture in zip(self.averages, self.mixtures, strict=True)
        ]
        self._proposed = moved, permutations, averages
        return sum(map(self.evaluate, averages)) / len(averages)

    def accept(self) -> None:
        """Apply the last proposed swaps."""
        self.moved, self.permutations, self.averages = self._proposed

    def refresh(self) -> None:
        """Do nothing: energies are not accumulated."""

    def _carriers(self, swaps: Sequence[Swap], params: Params) -> set[str]:
        """Return all names of the tensors that contain the groups."""
        ties = {name: names for names in self.symmetry.tied for name in names}
        tensors_of = {name for swap in swaps for name in self.symmetry.tensors_of[swap.group]}
        return {
            alias for name in tensors_of for alias in ties.get(name, (name,)) if alias in params
        }


def average(networks: Sequence[Params]) -> dict[str, Tensor]:
    """Return the mean of networks; integer tensors are copied from the first."""
    return {name: _mean([params[name] for params in networks]) for name in networks[0]}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0].detach()
    if not first.is_floating_point():
        return first
    dtype = compute_dtype(*(tensor.dtype for tensor in tensors))
    total = first.to(dtype)
    for tensor in tensors[1:]:
        total = total + tensor.detach().to(first.device, dtype)
    return (total / len(tensors)).to(first.dtype)
