"""Training tasks: networks from seeds, and lines of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from onebasin.data.augmentation import Augmentation
from onebasin.data.dataset import Dataset
from onebasin_studies.runtime.task import Result, task
from onebasin_studies.tasks.bundles import bundle
from onebasin_studies.tasks.specs import Spec, data_of, network_of
from onebasin_studies.training.subspaces import train_subspace
from onebasin_studies.training.train import train
from onebasin_studies.training.trained import TrainedNetwork

CHECKPOINT_SECONDS = 2.0
"""Minimum seconds between two checkpoints of a training; more if writing is slow."""


@task(map_over="seeds", gpus=1, resume_folder="resume_folder")
def train_networks(
    *,
    data: Spec,
    network: Spec,
    recipe: Mapping[str, Any],
    seeds: Sequence[int],
    augment: Mapping[str, Any] | None = None,
    part: Mapping[str, Any] | None = None,
    keep: Sequence[int] | None = None,
    resume_folder: str | None = None,
) -> list[Result]:
    """Train one network per seed.

    Describe it with `Task.map`: every seed is a task with its own key, and an engine trains several
    at once.

    Args:
        data: see `specs.data_of`.
        network: see `specs.network_of`.
        recipe: keyword arguments of `onebasin_studies.training.train`: those of its `Recipe`, such
            as `{"epochs": 10}`, and "spawn_epoch", "trunk_seed" and "evaluate".
        seeds: random seeds of the initial weights and the order of examples.
        augment: arguments of `Augmentation`; default: no augmentation.
        part: a part of the training set: "fraction", "seed" and "number" (0 or 1) of
            `Dataset.split_by_class`.
        keep: epochs, from 1, after which snapshots are returned for `select_network`, in addition
            to the last epoch. Without it the result is the trained network.
        resume_folder: a folder with state to resume from; it does not change the result.

    Returns:
        For each seed its parameters, under `EPOCH/NAME` with `keep`, and one row per epoch: seed,
        epoch, loss and the other columns of its history. A network that stopped early does not
        change in later epochs.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    # Recipes have tuples, which JSON turns into lists.
    options: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items()
    }
    options["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    if augment is not None:
        options["augment"] = _augmentation(augment)
    examples = _part_of(dataset, part)
    if resume_folder is not None:
        options |= {"checkpoints": resume_folder, "checkpoint_seconds": CHECKPOINT_SECONDS}
    if keep is None:
        trained = train(module, examples, seeds=list(seeds), **options)
        return [Result(network.rows(), network.params) for network in trained]
    with TemporaryDirectory() as scratch:
        if resume_folder is None:
            options |= {"checkpoints": scratch, "checkpoint_every": recipe["epochs"]}
        trained = train(module, examples, seeds=list(seeds), save_epochs=list(keep), **options)
        folder, epochs = Path(options["checkpoints"], "epochs"), {*keep, recipe["epochs"]}
        return [_kept(network, folder, sorted(epochs)) for network in trained]


def _kept(network: TrainedNetwork, folder: Path, epochs: Sequence[int]) -> Result:
    files = {epoch: folder / f"seed-{network.seed}-epoch-{epoch}.safetensors" for epoch in epochs}
    networks = {
        epoch: load_file(file) if file.exists() else network.params for epoch, file in files.items()
    }
    return Result(network.rows(), bundle(networks))


def _augmentation(arguments: Mapping[str, Any]) -> Augmentation:
    low, high = arguments.get("zoom", (0.8, 1.2))
    return Augmentation(**{**arguments, "zoom": (low, high)})


def _part_of(data: Dataset, part: Mapping[str, Any] | None) -> Dataset:
    if part is None:
        return data
    return data.split_by_class(part["fraction"], seed=part["seed"])[part["number"]]


@task(version=2)
def train_line(
    *,
    data: Spec,
    network: Spec,
    recipe: Mapping[str, Any],
    seed: int,
    start: Sequence[Result] = (),
) -> Result:
    """Train both endpoints of a line of networks; see `train_subspace`.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        recipe: "epochs", "batch_size", "learning_rate" and "penalty" of `train_subspace`, and
            "momentum" to use SGD; the default is Adam.
        seed: random seed of the initialization, the points and the order of examples.
        start: initial endpoints; default: independent random initializations.

    Returns:
        The endpoints, as networks 0 and 1 for `select_network`; and one row per epoch: seed, epoch,
        loss (at the sampled points), cosine_squared (between the endpoints).
    """
    dataset = data_of(data)
    options = {key: value for key, value in recipe.items() if key != "momentum"}
    if "momentum" in recipe:
        momentum, rate = recipe["momentum"], recipe["learning_rate"]

        def make_sgd(params: Sequence[Tensor]) -> torch.optim.Optimizer:
            return torch.optim.SGD(params, lr=rate, momentum=momentum)

        options = {**options, "optimizer": make_sgd}
    subspace = train_subspace(
        network_of(network, dataset),
        dataset,
        start=[dict(each.tensors) for each in start] or None,
        seed=seed,
        **options,
    )
    return Result(subspace.rows(), bundle(dict(enumerate(subspace.corners))))
