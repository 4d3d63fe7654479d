"""Training of many networks from seeds on one dataset."""

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
from onebasin._text import counted
from onebasin.data.dataset import Dataset
from onebasin.errors import (
    ArgumentError,
    OneBasinError,
    check_amount,
    check_whole,
    is_whole,
    public,
)
from onebasin_studies.training.augmentation import Augment, augment_name, check_augment
from onebasin_studies.training.engines import EngineName
from onebasin_studies.training.folder import Folder, group_name
from onebasin_studies.training.grouping import group_seeds
from onebasin_studies.training.recipe import Recipe
from onebasin_studies.training.setup import build_setup, describe
from onebasin_studies.training.stacks import Network
from onebasin_studies.training.trained import TrainedNetwork
from onebasin_studies.training.trainer import OnEpochEnd, Progress, Saving, Trainer


@public
def train(
    network: Network,
    data: Dataset,
    *,
    seeds: Iterable[int],
    recipe: Recipe | None = None,
    spawn_epoch: int | None = None,
    trunk_seed: int = 0,
    augment: Augment | None = None,
    evaluate: bool = False,
    checkpoints: str | PathLike[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    checkpoint_every: int = 1,
    checkpoint_seconds: float | int = 0.0,
    save_epochs: Sequence[int] | Literal["all"] = (),
    resume: bool = True,
    engine: EngineName | None = None,
    group_size: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
    on_epoch_end: OnEpochEnd | None = None,
    **options: Any,
) -> list[TrainedNetwork]:
    """Train one network per seed on cross-entropy, in one process.

    Networks are trained in lockstep groups, as one batched program where that is faster (see
    `TrainedNetwork.engine`). Up to rounding, the result of a seed does not depend on the other
    seeds.

    Args:
        network: the architecture, which is copied, or a function that builds one.
        data: the dataset.
        seeds: one seed per network, valid for torch. It determines the initial weights, the order
            of examples and the noise.
        recipe: the hyperparameters; default: those of `Recipe`.
        spawn_epoch: number of epochs of one shared network, from which all networks are spawned.
            Each spawned network has its own order of examples and noise (Frankle et al., 2020).
        trunk_seed: seed of the shared network.
        augment: a function from a batch of inputs and a CPU generator to inputs of the same shape.
            With `checkpoints` it needs an unambiguous name: a top-level function, a method, or an
            object whose `repr` has no memory address, such as an `Augmentation`.
        evaluate: whether to evaluate networks on the test set after every epoch.
        checkpoints: a folder for networks, histories and the state to resume from; see
            `onebasin_studies.training.folder`. A resumed training produces the same bytes as an
            uninterrupted one.
        metadata: further metadata of the checkpoint files, such as an architecture record.
        checkpoint_every: number of epochs between two checkpoints.
        checkpoint_seconds: minimum number of seconds between two checkpoints. If positive, writing
            takes at most about a twentieth of the time.
        save_epochs: epochs after which snapshots are saved in the folder, or "all"; they must be
            later than `spawn_epoch`.
        resume: whether to resume from the folder; otherwise its contents are replaced.
        engine: the engine of the networks; default: the fastest suitable one.
        group_size: maximum number of networks per group; default: chosen automatically.
        device: the device of the training; default: the device of the network.
        progress: a callback with the number of completed epochs of all seeds and their total.
        on_epoch_end: a callback for each group after each of its epochs.
        **options: hyperparameters by name, such as `epochs=10`; they override the recipe.

    Returns:
        One trained network per seed, in the order of the seeds.

    Raises:
        OneBasinError: if an argument is out of range, the network does not fit the data, the folder
            holds another training, or another process uses the folder.

    Example:
        >>> from onebasin.networks import MLP
        >>> from onebasin.data.datasets import load_digits
        >>> a, b = train(MLP(width=16), load_digits(), seeds=[0, 1], epochs=2)
        >>> len(a.losses), a.engine
        (2, 'vmap')
    """
    recipe = _recipe(recipe, options)
    seeds, trunk_seed = check_seeds(seeds), check_seed(trunk_seed, "trunk_seed")
    spawn_epoch = checked_spawn_epoch(spawn_epoch, recipe.epochs)
    check_whole("checkpoint_every", checkpoint_every, least=1)
    check_amount("checkpoint_seconds", checkpoint_seconds)
    if group_size is not None:
        check_whole("group_size", group_size, least=1)
    check_augment(augment)
    if not isinstance(data, Dataset):
        raise ArgumentError(
            f"data is {described(data)}; pass a Dataset, such as load_digits() returns"
        )
    if not len(data.train_labels):
        raise ArgumentError(f"{data.name} has no training examples; choose other data")
    kept = epochs_to_save(save_epochs, recipe.epochs, spawn_epoch)
    _check_folder(checkpoints, kept, augment)
    setup = build_setup(
        network, data, recipe, device=device, engine=engine, augment=augment, evaluate=evaluate
    )
    grouping = group_seeds(seeds, setup, num_threads=torch.get_num_threads(), group_size=group_size)
    folder = None if checkpoints is None else Folder(Path(checkpoints), metadata)
    with contextlib.nullcontext() if folder is None else folder.locked():
        if folder is not None:
            description = describe(setup, seeds, spawn_epoch=spawn_epoch, trunk_seed=trunk_seed)
            manifest = {"wanted": description, "groups": grouping.groups}
            groups = folder.open(manifest, resumes=resume)["groups"]
            grouping = dataclasses.replace(grouping, groups=tuple(map(tuple, groups)))
            check_saved(folder, groups, kept)
        trainer = Trainer(
            setup,
            grouping,
            Saving(folder, checkpoint_every, kept, checkpoint_seconds),
            spawn_epoch=spawn_epoch,
            trunk_seed=trunk_seed,
            progress=progress,
            on_epoch_end=on_epoch_end,
        )
        trained = trainer.run()
    return [trained[seed] for seed in seeds]


def _recipe(recipe: Any, options: dict[str, Any]) -> Recipe:
    recipe = Recipe() if recipe is None else recipe
    if not isinstance(recipe, Recipe):
        raise ArgumentError(
            f"recipe is a {type(recipe).__name__}; pass a Recipe, or its values by name, "
            "such as epochs=10"
        )
    return recipe.replace(**options)


def checked_spawn_epoch(given: Any, epochs: int) -> int | None:
    """Return the validated number of shared epochs, or None.

    Args:
        given: the value of the argument.
        epochs: total number of epochs.

    Raises:
        OneBasinError: if it is not a whole number from 1 to `epochs - 1`.
    """
    if given is None:
        return None
    if is_whole(given) and 1 <= given < epochs:
        return int(given)
    raise ArgumentError(
        f"spawn_epoch is {given!r}, but there are {epochs} epochs; it must be a whole "
        "number, at least 1 and less than the number of epochs"
    )


def _check_folder(checkpoints: Any, kept: frozenset[int], augment: Augment | None) -> None:
    """Check the arguments that depend on `checkpoints`."""
    if checkpoints is None:
        if kept:
            raise ArgumentError(
                "save_epochs requires a folder for the networks; pass checkpoints=DIR"
            )
        return
    if not os.fspath(checkpoints):
        raise ArgumentError("checkpoints is empty; name a folder, '.' for the working one")
    if augment is not None:
        augment_name(augment)


def epochs_to_save(keep: Any, epochs: int, spawn_epoch: int | None = None) -> frozenset[int]:
    """Return the epochs after which networks are saved.

    Args:
        keep: epoch numbers from 1, or "all".
        epochs: number of the last epoch.
        spawn_epoch: last epoch of the shared network, or None.

    Raises:
        OneBasinError: if an epoch is out of range, or not after `spawn_epoch`.
    """
    first = (spawn_epoch or 0) + 1
    if isinstance(keep, str) and keep == "all":
        return frozenset(range(first, epochs + 1))
    are_several = isinstance(keep, Iterable) and not isinstance(keep, str)
    given: list[Any] = list(keep) if are_several else []
    if not are_several or not all(is_whole(epoch) and 1 <= epoch <= epochs for epoch in given):
        raise ArgumentError(
            f"save_epochs is {keep!r}; it must be 'all' or epochs from 1 to {epochs}"
        )
    early = sorted(int(epoch) for epoch in given if epoch < first)
    if early:
        raise ArgumentError(
            f"save_epochs has {early[0]}, but up to spawn_epoch {spawn_epoch} there is only "
            f"the trunk, which is not saved; pass epochs from {first} on, or 'all'"
        )
    return frozenset(int(epoch) for epoch in given)


def check_saved(folder: Folder, groups: Sequence[Sequence[int]], kept: frozenset[int]) -> None:
    """Check that a resumed training can still save all requested snapshots.

    Args:
        folder: the folder to resume from.
        groups: seeds of each group.
        kept: epochs after which networks are saved.

    Raises:
        OneBasinError: if networks have passed such an epoch without a snapshot.
    """
    if not kept:
        return
    missing = [
        (seed, epoch)
        for number, seeds in enumerate(groups)
        for seed, reached in folder.reached(group_name(number), seeds).items()
        for epoch in sorted(kept)
        if epoch <= reached and not folder.epoch_file(seed, epoch).exists()
    ]
    if missing:
        epochs = ", ".join(map(str, sorted({epoch for _, epoch in missing})))
        networks = counted(len({seed for seed, _ in missing}), "network")
        raise OneBasinError(
            f"{folder.path}: {networks} passed epochs {epochs} of save_epochs without a "
            "snapshot; remove these epochs, or start again with resume=False (--restart)"
        )
