"""Training as a task, with the networks on the way kept; and data that are parts of data.

Owns what `train_networks` does not do: epochs, augmentation, and parts of a training set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.studies.task import Result, declare
from onebasin.studies.tasks.specs import Spec, data_of, network_of
from onebasin.training.datasets.augmentation import Augmentation
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.train import train
from onebasin.training.trained import TrainedNetwork


@declare(each="seeds", gpus=1)
def train_epochs(
    *,
    data: Spec,
    network: Spec,
    recipe: Mapping[str, Any],
    seeds: Sequence[int],
    keep: Sequence[int] = (),
    augment: Mapping[str, Any] | None = None,
    part: Mapping[str, Any] | None = None,
) -> list[Result]:
    """Train a network from each of several seeds, and keep it after some epochs.

    Describe it with `Task.each`, and take networks out of it with `take_epoch`.

    Args:
        data: see `specs.data_of`.
        network: see `specs.network_of`.
        recipe: as for `train_networks`; it says how many "epochs".
        seeds: of initial weights and the order of examples.
        keep: epochs after which the networks are kept, from 1; the last one always is.
        augment: arguments of `Augmentation`; without it examples stay as they are.
        part: train on a part of the training set: "share", "seed" and "number" (0 or 1) of
            `Dataset.split_by_class`.

    Returns:
        For each seed the networks, under `EPOCH/NAME` for the tensor `NAME`, and a row per
        epoch. A network that stopped early stays what it was.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    options: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items()
    }
    with TemporaryDirectory() as folder:
        found = train(
            module,
            _part_of(dataset, part),
            seeds=list(seeds),
            augment=None if augment is None else _augmentation(augment),
            device="cuda" if torch.cuda.is_available() else "cpu",
            checkpoints=folder,
            checkpoint_every=recipe["epochs"],
            keep_epochs=list(keep),
            **options,
        )
        kept = _Kept(Path(folder), sorted({*keep, recipe["epochs"]}))
        return [Result(network.rows(), kept.tensors(network)) for network in found]


def take_epoch(*, trained: Result, epoch: int) -> Result:
    """Take out the network of one epoch.

    Args:
        trained: of `train_epochs`.
        epoch: one that was kept, or the last.

    Returns:
        Its parameters, and the row of that epoch.

    Raises:
        OneBasinError: when that epoch was not kept; those that were are listed.
    """
    prefix = f"{epoch}/"
    names = [name for name in trained.tensors if name.startswith(prefix)]
    if not names:
        kept = sorted({int(name.partition("/")[0]) for name in trained.tensors})
        raise OneBasinError(f"take_epoch: epoch {epoch} was not kept; kept were {kept}")
    rows = [row for row in trained.rows if row["epoch"] <= epoch][-1:]
    return Result(rows, {name.removeprefix(prefix): trained.tensors[name] for name in names})


@dataclass(frozen=True)
class _Kept:
    """The networks of some epochs in the folder of a training."""

    folder: Path
    epochs: Sequence[int]

    def tensors(self, network: TrainedNetwork) -> dict[str, Tensor]:
        found = {}
        for epoch in self.epochs:
            file = self.folder / "epochs" / f"seed-{network.seed}-epoch-{epoch}.safetensors"
            params = load_file(file) if file.exists() else network.params
            found |= {f"{epoch}/{name}": tensor for name, tensor in params.items()}
        return found


def _augmentation(arguments: Mapping[str, Any]) -> Augmentation:
    low, high = arguments.get("zoom", (0.8, 1.2))
    return Augmentation(**{**arguments, "zoom": (low, high)})


def _part_of(data: Dataset, part: Mapping[str, Any] | None) -> Dataset:
    if part is None:
        return data
    return data.split_by_class(part["share"], seed=part["seed"])[part["number"]]
