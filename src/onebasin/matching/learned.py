"""Learned matching: train the maps of a symmetry for the loss between both networks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from math import cos, pi
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin._random import generator_for
from onebasin.errors import check_amount, check_choice
from onebasin.graph.batches import (
    Batches,
    as_reiterable,
    inputs_of,
    is_empty,
    num_examples,
    output_of,
    run_model,
    shuffled,
)
from onebasin.graph.binding import FunctionalModel
from onebasin.matching._checks import check_counts, check_init, check_learning_rate, check_seed
from onebasin.matching._losses import DataLoss, Loss
from onebasin.matching._rotations.balance import balanced, mixing_groups
from onebasin.matching._rotations.learned_maps import LearnedMaps
from onebasin.matching.result import Matching, Progress, Step
from onebasin.matching.rotations import match_rotations
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation

Ends: TypeAlias = Literal["one", "both"]
Targets: TypeAlias = Literal["labels", "outputs"]

BATCH_SIZE = 128
"""Largest batch of tensors and datasets; the batches of a DataLoader are not divided."""

NUM_FEATURE_EXAMPLES = 1_000
"""Number of examples of the initial matching."""

LOWEST, HIGHEST = 0.4, 0.6
"""Range of the fraction of the way from A to B at which the loss is computed in a step."""


@checks_arguments
def match_learned(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    model: nn.Module,
    data: Iterable[Any],
    loss: Loss = "cross_entropy",
    targets: Targets = "labels",
    ends: Ends = "one",
    seed: int = 0,
    epochs: int = 2,
    learning_rate: float = 3e-3,
    init: Permutation | Transformation | None = None,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the transformation of B that minimizes the loss between A and B, by gradients.

    Trains the maps of every group for the loss at random fractions between 0.4 and 0.6 of the way
    from A to the transformed B (Generalized Linear Mode Connectivity for Transformers, 2025).
    Orthogonal maps are exponentials of skew-symmetric matrices, scales are exponentials, and other
    linear maps are trained directly. Permutations of units are straight-through estimates.

    With `ends="both"`, maps of A are trained as well. Since maps act linearly on balanced networks,
    the mean of both transformed networks is the transformed mean of A and `inverse(T_A) @ T_B` of
    B. So the result is always one transformation of B, and A is not changed.

    Args:
        symmetry: symmetry of the architecture, with the classes of its groups.
        params_a: parameters and buffers of A, the reference.
        params_b: parameters and buffers of B, the network to transform.
        model: the architecture; its own parameters are ignored.
        data: batches `(inputs, labels)`, such as a DataLoader; one step for each.
        loss: `cross_entropy`, `mse`, or a function of outputs and labels.
        targets: `labels`, or `outputs`: the mean of both networks' outputs, without labels. The
            loss `cross_entropy` is then the one to their softmax.
        ends: whether maps of `one` or of `both` networks are trained.
        seed: random seed of the fractions and of the initial matching.
        epochs: number of passes over the data.
        learning_rate: initial learning rate of Adam; it decreases to zero (cosine).
        init: the initial transformation, instead of the result of `match_rotations` with the
            first batches of the data.
        cache_bytes: memory for similarities; see `match_weights`.
        progress: callback with a `Step` after every batch; its group is empty.

    Returns:
        The matching. Its objective is minus the mean loss at the midpoint over the data, of the
        initial transformation and of the better of both.

    Raises:
        OneBasinError: the data are empty, labels are missing, the model fails on a batch, a loss is
            not finite, tensors do not match the symmetry, or a number is out of range.
    """
    began = time.perf_counter()
    check_counts(epochs=epochs)
    check_seed(seed)
    check_amount("cache_bytes", cache_bytes)
    check_learning_rate(learning_rate)
    check_choice("ends", ends, Ends)
    check_choice("targets", targets, Targets)
    if init is not None:
        check_init(symmetry, init if isinstance(init, Permutation) else init.permutation)
    else:
        init = match_rotations(
            symmetry,
            params_a,
            params_b,
            model=model,
            data=_first_batches(data),
            seed=seed,
            cache_bytes=cache_bytes,
        ).transformation
    first = Transformation(symmetry, init) if isinstance(init, Permutation) else init
    losses = _data_loss(model, data, loss, targets, (params_a, params_b))
    run = _Run(losses, symmetry, params_a, params_b, first, ends=ends, seed=seed)
    before = run.value()
    run.train(epochs, learning_rate, progress)
    after = run.value()
    best = run.transformation() if after > before else first
    return Matching(
        permutation=best.permutation,
        element=best,
        objective=(before, max(before, after)),
        converged=True,
        num_sweeps=epochs,
        num_solves=0,
        seconds=time.perf_counter() - began,
        restarts=(max(before, after),),
    )


def _first_batches(data: Iterable[Any]) -> list[Any]:
    """Return the first batches, with at least `NUM_FEATURE_EXAMPLES` examples."""
    found, count = list[Any](), 0
    for batch in as_reiterable(data):
        if is_empty(batch):
            continue
        found.append(batch)
        count += num_examples(batch) or 1
        if count >= NUM_FEATURE_EXAMPLES:
            break
    return found


class _WithOutputs:
    """Batches with the mean of both networks' outputs in place of the labels."""

    def __init__(
        self, model: nn.Module, data: Iterable[Any], networks: Sequence[Mapping[str, Tensor]]
    ) -> None:
        self.data = data
        self.networks = [FunctionalModel(model, params).eval() for params in networks]

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.data)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        """Yield inputs and mean outputs."""
        for batch in self.data:
            if not is_empty(batch):
                inputs = inputs_of(batch)
                with torch.no_grad():
                    outputs = [output_of(run_model(each, inputs)) for each in self.networks]
                yield inputs, torch.stack(outputs).mean(0)


def _cross_entropy_to(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy to the softmax of other outputs."""
    size = outputs.shape[-1]
    probabilities = targets.reshape(-1, size).to(outputs).softmax(-1)
    return F.cross_entropy(outputs.reshape(-1, size), probabilities)


def _data_loss(
    model: nn.Module,
    data: Iterable[Any],
    loss: Loss,
    targets: Targets,
    networks: Sequence[Mapping[str, Tensor]],
) -> DataLoss:
    """Return the loss on batches of at most `BATCH_SIZE` examples."""
    if isinstance(data, Batches):
        data = replace(data, batch_size=min(data.batch_size, BATCH_SIZE))
    if targets == "outputs":
        data = _WithOutputs(model, as_reiterable(data), networks)
        loss = _cross_entropy_to if loss == "cross_entropy" else loss
    return DataLoss(model, data, loss, normalization="interpolated")


class _Run:
    """Training of the maps of one or both networks, from an initial transformation."""

    def __init__(
        self,
        losses: DataLoss,
        symmetry: Symmetry,
        params_a: Mapping[str, Tensor],
        params_b: Mapping[str, Tensor],
        first: Transformation,
        *,
        ends: Ends,
        seed: int,
    ) -> None:
        self.losses, self.first = losses, first
        self.generator = generator_for(seed, "fractions")
        moved = first.apply(params_b)
        mixing = mixing_groups(symmetry, (params_a, moved))
        self.balance_a = balanced(symmetry, params_a, mixing)
        self.balance_b = balanced(symmetry, moved, mixing)
        self.a, self.b = self.balance_a.apply(params_a), self.balance_b.apply(moved)
        self.maps_b = LearnedMaps(symmetry, mixing)
        self.maps_a = LearnedMaps(symmetry, mixing) if ends == "both" else None

    def train(self, num_epochs: int, learning_rate: float, progress: Progress | None) -> None:
        """Take a step for every batch of every pass."""
        maps = [self.maps_b] if self.maps_a is None else [self.maps_a, self.maps_b]
        leaves = [leaf for each in maps for leaf in each.free.values()]
        if not leaves:
            return
        optimizer = torch.optim.Adam(leaves, lr=learning_rate)
        for epoch in range(num_epochs):
            batches = shuffled(self.losses.data, seed=epoch)
            total = len(batches) if isinstance(batches, Sized) else 0
            for number, batch in enumerate(batches):
                if is_empty(batch):
                    continue
                done = (epoch + number / max(total, number + 1)) / num_epochs
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * (1 + cos(pi * done)) / 2
                fraction = LOWEST + (HIGHEST - LOWEST) * float(
                    torch.rand((), generator=self.generator)
                )
                optimizer.zero_grad()
                value = self.losses.of_batch(self._between(fraction), batch, number)
                value.backward()
                optimizer.step()
                if progress is not None:
                    here = -float(value.detach())
                    progress(Step(0, epoch + 1, "", number + 1, max(total, number + 1), here))

    @torch.no_grad()
    def value(self) -> float:
        """Return minus the mean loss at the midpoint."""
        return -self.losses.mean(self._between(0.5))

    def _between(self, fraction: float) -> dict[str, Tensor]:
        """Return the network at a fraction of the way from A to B."""
        a = self.a if self.maps_a is None else self.maps_a.apply(self.a)
        b = self.maps_b.apply(self.b)
        return {
            name: torch.lerp(value, b[name], fraction) if value.is_floating_point() else value
            for name, value in a.items()
        }

    def transformation(self) -> Transformation:
        """Return the transformation of B."""
        moved = self.maps_b.element() @ self.balance_b @ self.first
        if self.maps_a is not None:
            moved = self.maps_a.element().inverse() @ moved
        return self.balance_a.inverse() @ moved
