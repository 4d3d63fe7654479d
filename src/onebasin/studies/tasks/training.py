"""Training as a task: each network under a key of its own, several trained by one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from onebasin.studies.task import Result, declare
from onebasin.studies.tasks.specs import Spec, data_of, network_of
from onebasin.training.train import train


@declare(each="seeds", gpus=1)
def train_networks(
    *, data: Spec, network: Spec, recipe: Mapping[str, Any], seeds: Sequence[int]
) -> list[Result]:
    """Train a network from each of several seeds.

    Describe it with `Task.each`: every seed is a task, whose result no study computes twice,
    and an engine trains several at once.

    Args:
        data: see `specs.data_of`.
        network: see `specs.network_of`.
        recipe: keyword arguments of `onebasin.training.train`: those of its `Recipe`, such as
            `{"epochs": 10}`, and "spawn_epoch", "trunk_seed" and "tests".
        seeds: of initial weights and the order of examples.

    Returns:
        For each seed its parameters as tensors, and a row per epoch: seed, epoch, loss and
        whatever else its history has.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    # JSON has no tuples, which is what recipes have.
    options: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items()
    }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trained = train(module, dataset, seeds=list(seeds), device=device, **options)
    return [
        Result([{"seed": found.seed, **row} for row in found.rows()], found.params)
        for found in trained
    ]
