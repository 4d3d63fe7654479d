"""Keeping: after which epochs networks are kept, and whether a folder can still have them."""

from __future__ import annotations

from collections.abc import Sequence

from onebasin.checkpoints.messages import counted
from onebasin.errors import OneBasinError
from onebasin.training.folder import Folder, group_name


def epochs_to_keep(keep: Sequence[int] | str, epochs: int) -> frozenset[int]:
    """Return the epochs after which networks are to be kept.

    Args:
        keep: numbers from 1, or "all".
        epochs: the last one.

    Raises:
        OneBasinError: when there is no such epoch.
    """
    if keep == "all":
        return frozenset(range(1, epochs + 1))
    wrong = [epoch for epoch in keep if not isinstance(epoch, int) or not 1 <= epoch <= epochs]
    if wrong or isinstance(keep, str):
        raise OneBasinError(
            f"train: keep_epochs is {keep!r}; it must be 'all' or epochs from 1 to {epochs}"
        )
    return frozenset(int(epoch) for epoch in keep)


def check_kept(
    folder: Folder, groups: Sequence[Sequence[int]], kept: frozenset[int], *, first: int
) -> None:
    """Check that no network of a folder is past an epoch after which it was to be kept.

    Args:
        folder: where a training goes on.
        groups: seeds trained in step.
        kept: epochs after which networks are to be kept.
        first: the first epoch that networks have of their own.

    Raises:
        OneBasinError: naming the epochs that are missing.
    """
    if not kept:
        return
    missing = [
        (seed, epoch)
        for number, seeds in enumerate(groups)
        for seed, reached in folder.reached(group_name(number), seeds).items()
        for epoch in sorted(kept)
        if first <= epoch <= reached and not folder.epoch_file(seed, epoch).exists()
    ]
    if missing:
        epochs = ", ".join(map(str, sorted({epoch for _, epoch in missing})))
        networks = counted(len({seed for seed, _ in missing}), "network")
        raise OneBasinError(
            f"{folder.path}: {networks} went past epochs {epochs} of keep_epochs and were not kept "
            "there; leave these out, or start anew with resume=False (--restart)"
        )
