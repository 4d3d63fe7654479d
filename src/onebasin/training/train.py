"""Training: a network trained from seeds on a dataset."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.initialisation import initialised

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """What training made of one seed.

    Args:
        seed: what its initial weights and the order of its examples were drawn with.
        params: parameters and buffers, detached.
        losses: mean training cross-entropy of each epoch, as met on the way.
        seconds: how long it took.
    """

    seed: int
    params: dict[str, Tensor]
    losses: tuple[float, ...]
    seconds: float


def train(
    network: nn.Module,
    data: Dataset,
    *,
    seeds: Sequence[int],
    epochs: int = 50,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    progress: Progress | None = None,
) -> list[TrainedNetwork]:
    """Train a network from each of several seeds with Adam on cross-entropy.

    Args:
        network: the architecture; it is copied and stays as it is.
        data: what to train on.
        seeds: one network is trained for each; its seed decides its initial weights and the
            order of its examples, and nothing else does.
        epochs: passes over the training set.
        batch_size: examples per step.
        learning_rate: of Adam.
        progress: called with the number of epochs done, of all seeds, and their total.

    Returns:
        One trained network per seed, in the order of the seeds.

    Raises:
        OneBasinError: when there is no seed, or a number is out of range.
    """
    if not seeds or epochs < 0 or batch_size < 1:
        raise OneBasinError(
            f"train: {len(seeds)} seeds, {epochs} epochs, batch size {batch_size}; there must be "
            "at least one seed, no negative number of epochs and one example in a batch"
        )
    total = epochs * len(seeds)
    trained: list[TrainedNetwork] = []
    for seed in seeds:
        offset = epochs * len(trained)

        def report(epoch: int, offset: int = offset) -> None:
            if progress is not None:
                progress(offset + epoch, total)

        trained.append(_train_one(network, data, seed, epochs, batch_size, learning_rate, report))
    return trained


def _train_one(
    network: nn.Module,
    data: Dataset,
    seed: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    report: Callable[[int], None],
) -> TrainedNetwork:
    start = time.perf_counter()
    model = initialised(network, seed).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for epoch in range(epochs):
        order = torch.randperm(len(data.train_inputs), generator=generator)
        losses.append(_epoch(model, data, optimizer, order.split(batch_size)))
        report(epoch + 1)
    params = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    return TrainedNetwork(seed, params, tuple(losses), time.perf_counter() - start)


def _epoch(
    model: nn.Module,
    data: Dataset,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Tensor],
) -> float:
    total = 0.0
    for rows in batches:
        loss = F.cross_entropy(model(data.train_inputs[rows]), data.train_labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    return total / len(data.train_inputs)
