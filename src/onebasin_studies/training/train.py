"""Training: networks trained from seeds on a dataset, many at once."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch

from onebasin._checks import described
from onebasin._random import check_seed, check_seeds
from onebasin.data.dataset import Dataset
from onebasin.errors import OneBasinError, check_amount, check_whole, is_whole
from onebasin_studies.training.augmenting import Augment, augment_name, check_augment
from onebasin_studies.training.campaign import Campaign, Progress, Saving, Watch
from onebasin_studies.training.engines import EngineName
from onebasin_studies.training.folder import Folder
from onebasin_studies.training.grouping import group_seeds
from onebasin_studies.training.initialization import Network
from onebasin_studies.training.job import build_job, describe
from onebasin_studies.training.keeping import check_kept, epochs_to_keep
from onebasin_studies.training.recipe import Recipe
from onebasin_studies.training.trained import TrainedNetwork


def train(
    network: Network,
    data: Dataset,
    *,
    seeds: Iterable[int],
    recipe: Recipe | None = None,
    spawn_epoch: int | None = None,
    trunk_seed: int = 0,
    augment: Augment | None = None,
    tests: bool = False,
    checkpoints: str | PathLike[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    checkpoint_every: int = 1,
    checkpoint_seconds: float | int = 0.0,
    keep_epochs: Sequence[int] | Literal["all"] = (),
    resume: bool = True,
    engine: EngineName | None = None,
    group_size: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> list[TrainedNetwork]:
    """Train a network from each of several seeds on cross-entropy, all in one process.

    Networks are trained in step, as one batched program where that is faster (see
    `TrainedNetwork.engine`), in groups that share a CPU's threads. What becomes of a seed
    does not depend on the others, up to the rounding of floating-point numbers.

    Args:
        network: the architecture, which is copied and stays as it is, or a function that
            builds one.
        data: what to train on.
        seeds: one network is trained for each; its seed, a whole number that torch takes, decides
            its initial weights, the order of its examples and its noise, and nothing else does.
        recipe: how to train; the defaults of `Recipe` without it.
        spawn_epoch: train one network for this many epochs, and only then one from each
            seed, which goes on from it with an order and noise of its own (Frankle et al.,
            2020).
        trunk_seed: of that network.
        augment: called with a batch of inputs and a generator on the CPU; returns the inputs
            to train on, of the same shape. With a folder it needs a name of its own, by which a
            training that goes on is known: a function of a module or class, or an object that
            prints without an address in memory, such as an `Augmentation`.
        tests: whether to measure loss and error on the test set after every epoch.
        checkpoints: a folder for networks, histories and whatever is needed to go on; see
            `onebasin_studies.training.folder`. A training that was killed and is called once more
            gives the same bytes as one that was not.
        metadata: further metadata of the checkpoint files, such as an architecture record.
        checkpoint_every: epochs between two writings of what is needed to go on.
        checkpoint_seconds: the least time between them; where it is above 0, writing takes no
            more than about a twentieth of the time.
        keep_epochs: epochs after which networks are kept in the folder, or "all"; later than
            `spawn_epoch`, up to which there is only one network.
        resume: whether to go on with what is in the folder; else it is replaced.
        engine: what runs the networks; the quickest one that works without it.
        group_size: the most networks trained in step; chosen without it.
        device: where to train; where the network is without it.
        progress: called with the number of epochs done, of all seeds, and their total.
        watch: called for each group after each of its epochs.
        **options: values of the recipe by name, such as `epochs=10`; they go before it.

    Returns:
        One trained network per seed, in the order of the seeds.

    Raises:
        OneBasinError: when an argument is out of range, the network does not fit the data, or
            the folder holds another training or one that is past an epoch to keep, or
            another process trains there.

    Example:
        >>> from onebasin.networks import MLP
        >>> from onebasin.data.digits import load_digits
        >>> a, b = train(MLP(width=16), load_digits(), seeds=[0, 1], epochs=2)
        >>> len(a.losses), a.engine
        (2, 'chain')
    """
    recipe = _recipe(recipe, options)
    seeds, trunk_seed = check_seeds("train", seeds), check_seed("train", trunk_seed, "trunk_seed")
    spawn_epoch = checked_spawn_epoch(spawn_epoch, recipe.epochs)
    check_whole("train", "checkpoint_every", checkpoint_every, least=1)
    check_amount("train", "checkpoint_seconds", checkpoint_seconds)
    if group_size is not None:
        check_whole("train", "group_size", group_size, least=1)
    check_augment(augment)
    if not isinstance(data, Dataset):
        raise OneBasinError(
            f"train: data is {described(data)}; pass a Dataset, such as load_digits() returns"
        )
    if not len(data.train_labels):
        raise OneBasinError(f"train: {data.name} has no training examples; choose other data")
    kept = epochs_to_keep(keep_epochs, recipe.epochs, spawn_epoch)
    _check_folder(checkpoints, kept, augment)
    job = build_job(
        network, data, recipe, device=device, engine=engine, augment=augment, tests=tests
    )
    grouping = group_seeds(seeds, job, num_threads=torch.get_num_threads(), group_size=group_size)
    folder = None if checkpoints is None else Folder(Path(checkpoints), metadata)
    with contextlib.nullcontext() if folder is None else folder.locked():
        if folder is not None:
            wanted = describe(job, seeds, spawn_epoch=spawn_epoch, trunk_seed=trunk_seed)
            manifest = {"wanted": wanted, "groups": grouping.groups}
            groups = folder.open(manifest, resumes=resume)["groups"]
            grouping = dataclasses.replace(grouping, groups=tuple(map(tuple, groups)))
            check_kept(folder, groups, kept)
        campaign = Campaign(
            job,
            grouping,
            Saving(folder, checkpoint_every, kept, checkpoint_seconds),
            spawn_epoch=spawn_epoch,
            trunk_seed=trunk_seed,
            progress=progress,
            watch=watch,
        )
        found = campaign.run()
    return [found[seed] for seed in seeds]


def _recipe(recipe: Any, options: dict[str, Any]) -> Recipe:
    recipe = Recipe() if recipe is None else recipe
    if not isinstance(recipe, Recipe):
        raise OneBasinError(
            f"train: recipe is a {type(recipe).__name__}; pass a Recipe, or its values by name, "
            "such as epochs=10"
        )
    return recipe.replace(**options)


def checked_spawn_epoch(given: Any, epochs: int) -> int | None:
    """Return after how many epochs networks are spawned, or None.

    Args:
        given: what the caller said.
        epochs: how many there are.

    Raises:
        OneBasinError: when it is no whole number of at least 1 and below them.
    """
    if given is None:
        return None
    if is_whole(given) and 1 <= given < epochs:
        return int(given)
    raise OneBasinError(
        f"train: spawn_epoch is {given!r}, but there are {epochs} epochs; it must be a whole "
        "number, at least 1 and below them"
    )


def _check_folder(checkpoints: Any, kept: frozenset[int], augment: Augment | None) -> None:
    """Check what only matters with a folder, or without one."""
    if checkpoints is None:
        if kept:
            raise OneBasinError(
                "train: keep_epochs needs a folder to keep networks in; checkpoints="
            )
        return
    if not os.fspath(checkpoints):
        raise OneBasinError("train: checkpoints is empty; name a folder, '.' for the working one")
    if augment is not None:
        augment_name(augment)
