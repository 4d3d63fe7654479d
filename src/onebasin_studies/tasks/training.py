"""Training as a task: each network under a key of its own, several trained by one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file

from onebasin.data.augmentation import Augmentation
from onebasin.data.dataset import Dataset
from onebasin_studies.runtime.task import Result, declare
from onebasin_studies.tasks.packing import pack
from onebasin_studies.tasks.specs import Spec, data_of, network_of
from onebasin_studies.training.train import train
from onebasin_studies.training.trained import TrainedNetwork

CHECKPOINT_SECONDS = 2.0
"""Between two writings of what a killed training goes on from; more where writing takes long."""


@declare(each="seeds", gpus=1, interim="interim")
def train_networks(
    *,
    data: Spec,
    network: Spec,
    recipe: Mapping[str, Any],
    seeds: Sequence[int],
    augment: Mapping[str, Any] | None = None,
    part: Mapping[str, Any] | None = None,
    keep: Sequence[int] | None = None,
    interim: str | None = None,
) -> list[Result]:
    """Train a network from each of several seeds.

    Describe it with `Task.each`: every seed is a task, whose result no study computes twice,
    and an engine trains several at once.

    Args:
        data: see `specs.data_of`.
        network: see `specs.network_of`.
        recipe: keyword arguments of `onebasin_studies.training.train`: those of its `Recipe`, such
            as `{"epochs": 10}`, and "spawn_epoch", "trunk_seed" and "tests".
        seeds: of initial weights and the order of examples.
        augment: arguments of `Augmentation`; without it examples stay as they are.
        part: train on a part of the training set: "share", "seed" and "number" (0 or 1) of
            `Dataset.split_by_class`.
        keep: epochs after which networks are kept, from 1, for `take_network`; the last one of
            the recipe always is. Without it the result is the trained network itself.
        interim: a folder to go on from after a kill; what comes out does not depend on it.

    Returns:
        For each seed its parameters as tensors, under `EPOCH/NAME` where epochs are kept, and a
        row per epoch: seed, epoch, loss and whatever else its history has. A network that
        stopped early stays what it was in later epochs.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    # JSON has no tuples, which is what recipes have.
    options: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items()
    }
    options["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    if augment is not None:
        options["augment"] = _augmentation(augment)
    examples = _part_of(dataset, part)
    if interim is not None:
        options |= {"checkpoints": interim, "checkpoint_seconds": CHECKPOINT_SECONDS}
    if keep is None:
        found = train(module, examples, seeds=list(seeds), **options)
        return [Result(network.rows(), network.params) for network in found]
    with TemporaryDirectory() as scratch:
        if interim is None:
            options |= {"checkpoints": scratch, "checkpoint_every": recipe["epochs"]}
        found = train(module, examples, seeds=list(seeds), keep_epochs=list(keep), **options)
        folder, epochs = Path(options["checkpoints"], "epochs"), {*keep, recipe["epochs"]}
        return [_kept(network, folder, sorted(epochs)) for network in found]


def _kept(network: TrainedNetwork, folder: Path, epochs: Sequence[int]) -> Result:
    files = {epoch: folder / f"seed-{network.seed}-epoch-{epoch}.safetensors" for epoch in epochs}
    networks = {
        epoch: load_file(file) if file.exists() else network.params for epoch, file in files.items()
    }
    return Result(network.rows(), pack(networks))


def _augmentation(arguments: Mapping[str, Any]) -> Augmentation:
    low, high = arguments.get("zoom", (0.8, 1.2))
    return Augmentation(**{**arguments, "zoom": (low, high)})


def _part_of(data: Dataset, part: Mapping[str, Any] | None) -> Dataset:
    if part is None:
        return data
    return data.split_by_class(part["share"], seed=part["seed"])[part["number"]]
