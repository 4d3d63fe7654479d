"""Snapshots: the epochs after which networks are saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from onebasin._text import counted
from onebasin.errors import OneBasinError, is_whole
from onebasin_studies.training.folder import Folder, group_name


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
    found: list[Any] = list(keep) if are_several else []
    if not are_several or not all(is_whole(epoch) and 1 <= epoch <= epochs for epoch in found):
        raise OneBasinError(
            f"train: save_epochs is {keep!r}; it must be 'all' or epochs from 1 to {epochs}"
        )
    early = sorted(int(epoch) for epoch in found if epoch < first)
    if early:
        raise OneBasinError(
            f"train: save_epochs has {early[0]}, but up to spawn_epoch {spawn_epoch} there is only "
            f"one network, which is not kept; give epochs from {first} on, or 'all' for those"
        )
    return frozenset(int(epoch) for epoch in found)


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
            f"{folder.path}: {networks} went past epochs {epochs} of save_epochs and were not kept "
            "there; leave these out, or start anew with resume=False (--restart)"
        )
