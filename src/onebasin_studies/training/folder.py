"""Folders of trainings: finished networks, and the state to resume from.

`manifest.json` describes the training, which prevents mixing two of them. `seed-N.safetensors` and
`history/seed-N.jsonl` hold finished networks, `epochs/` snapshots, and `running/` the state of
unfinished groups. Files are written atomically.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from onebasin._files import check_no_link
from onebasin.checkpoints import atomic_path, write_checkpoint
from onebasin.errors import OneBasinError
from onebasin_studies.training.group import GroupState
from onebasin_studies.training.io import (
    check_tensors,
    checked_rows,
    read_header,
    read_tensors,
    read_trained,
    reading,
)
from onebasin_studies.training.optimizers import StackedOptimizer
from onebasin_studies.training.setup import TrainingSetup
from onebasin_studies.training.stacks import Stack
from onebasin_studies.training.trained import TrainedNetwork

TRUNK = "trunk"
MANIFEST = "manifest.json"
LOCK = ".lock"
HISTORY = "history.jsonl"
CURVES = "curves.png"
_FOLDERS = ("running", "history", "epochs")
_FILES = (MANIFEST, LOCK, HISTORY, CURVES)


class Folder:
    """A folder of trained networks and of the state to resume from.

    Args:
        path: the folder; created if missing.
        metadata: further metadata of the network files, such as an architecture record.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._metadata = dict(metadata or {})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other processes while a block runs.

        Raises:
            OneBasinError: if another process holds the lock, or the folder cannot be used.
        """
        lock = FileLock(self.path / LOCK)
        with self._used():
            self.path.mkdir(parents=True, exist_ok=True)
            self._check_links()
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise OneBasinError(
                    f"{self.path}: another process trains there; wait until it has ended, or "
                    "choose another folder"
                ) from error
        try:
            yield
        finally:
            # Delete it before the release: later it may belong to another process.
            (self.path / LOCK).unlink(missing_ok=True)
            lock.release()

    def open(self, manifest: Mapping[str, Any], *, resumes: bool) -> Mapping[str, Any]:
        """Return the stored manifest, or store this one; the folder must be locked.

        Args:
            manifest: `wanted`, which must match the stored one, and `groups`, which is replaced by
                the stored one.
            resumes: whether to resume from the contents of the folder; otherwise they are deleted.

        Raises:
            OneBasinError: if the folder holds another training, or cannot be used.
        """
        with self._used():
            if not resumes:
                self._clear()
            there = read_manifest(self.path)
            if there is None:
                self._check_empty()
            else:
                check_same(self.path, there["wanted"], manifest["wanted"])
            for part in _FOLDERS:
                (self.path / part).mkdir(exist_ok=True)
        if there is None:
            self._write_text(self.path / MANIFEST, json.dumps(manifest, indent=1) + "\n")
            return manifest
        return there

    def write_network(self, network: TrainedNetwork) -> None:
        """Write the history of a finished network, then the network."""
        lines = [json.dumps(row) + "\n" for row in network.rows()]
        self._write_text(self._history_file(network.seed), "".join(lines))
        metadata = {
            **self._metadata,
            "seed": str(network.seed),
            "status": network.status,
            "epochs": str(len(network.history)),
            "engine": network.engine,
            "reason": network.reason,
        }
        write_checkpoint(self.network_file(network.seed), network.params, metadata=metadata)

    def read_network(self, seed: int, setup: TrainingSetup) -> TrainedNetwork | None:
        """Return a finished network, or None."""
        file, history = self.network_file(seed), self._history_file(seed)
        if not file.exists() or not history.exists():
            return None
        return read_trained(file, history, seed, setup.network.state_dict())

    def write_epoch(self, state: GroupState) -> None:
        """Write snapshots of the networks of a group."""
        for seed in state.seeds:
            write_checkpoint(
                self.epoch_file(seed, state.epoch),
                state.network(seed),
                metadata={**self._metadata, "seed": str(seed), "epoch": str(state.epoch)},
            )

    def write_state(self, name: str, state: GroupState) -> None:
        """Write the state of a group to resume from."""
        tensors = {f"stack/{key}": value for key, value in state.stack.tensors().items()}
        memory = state.optimizer.tensors()
        tensors |= {f"optimizer/{key}": value for key, value in memory.items()}
        rows = {seed: [row.to_json() for row in state.history[seed]] for seed in state.seeds}
        metadata = {
            "epoch": str(state.epoch),
            "seeds": json.dumps(state.seeds),
            "history": json.dumps(rows),
        }
        write_checkpoint(self._state_file(name), tensors, metadata=metadata)

    def read_state(self, name: str, setup: TrainingSetup) -> GroupState | None:
        """Return the stored state of a group, or None."""
        file = self._state_file(name)
        if not file.exists():
            return None
        tensors, metadata = read_tensors(file)
        template = Stack.of([setup.network], setup.device)
        with reading(file):
            seeds, epoch = tuple(json.loads(metadata["seeds"])), int(metadata["epoch"])
            stacked = _under(tensors, "stack/")
            shapes = {
                name: (len(seeds), *tensor.shape[1:]) for name, tensor in template.tensors().items()
            }
            check_tensors(stacked, shapes)
            stack = template.with_tensors(stacked)
            optimizer = StackedOptimizer(setup.recipe, stack, _under(tensors, "optimizer/"))
            rows = json.loads(metadata["history"])
            history = {seed: checked_rows(rows[str(seed)], seed, epoch) for seed in seeds}
        return GroupState(epoch, seeds, stack, optimizer, history)

    def reached(self, name: str, seeds: Sequence[int]) -> dict[int, int]:
        """Return the number of stored epochs of each network of a group.

        Args:
            name: name of the group.
            seeds: seeds of its networks.

        Returns:
            Epochs by seed; empty if the group must be trained from the beginning.
        """
        file, reached = self._state_file(name), {}
        if file.exists():
            metadata = read_header(file)
            with reading(file):
                epoch = int(metadata["epoch"])
                reached = {int(seed): epoch for seed in json.loads(metadata["seeds"])}
        for seed in seeds:
            file = self.network_file(seed)
            if seed in reached:
                continue
            # If a finished network is missing, the whole group is trained again.
            if not file.exists() or not self._history_file(seed).exists():
                return {}
            metadata = read_header(file)
            with reading(file):
                reached[seed] = int(metadata["epochs"])
        return reached

    def remove_state(self, name: str) -> None:
        """Delete the stored state of a group."""
        self._state_file(name).unlink(missing_ok=True)

    def close(self) -> None:
        """Delete the files that only a running training needs."""
        shutil.rmtree(self.path / "running", ignore_errors=True)
        if not any((self.path / "epochs").iterdir()):
            (self.path / "epochs").rmdir()

    def network_file(self, seed: int) -> Path:
        """Return the path of a finished network."""
        return self.path / f"seed-{seed}.safetensors"

    def epoch_file(self, seed: int, epoch: int) -> Path:
        """Return the path of the snapshot of a network after an epoch."""
        return self.path / "epochs" / f"seed-{seed}-epoch-{epoch}.safetensors"

    def _history_file(self, seed: int) -> Path:
        return self.path / "history" / f"seed-{seed}.jsonl"

    def _state_file(self, name: str) -> Path:
        return self.path / "running" / f"{name}.safetensors"

    @contextmanager
    def _used(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OneBasinError(
                f"{self.path}: cannot be used for training ({error.strerror}); "
                "choose another folder"
            ) from error

    def _clear(self) -> None:
        for file in self._files():
            file.unlink()
        # Deleted last: the manifest describes any files that are left.
        (self.path / MANIFEST).unlink(missing_ok=True)

    def _check_links(self) -> None:
        """Raise an error for links at the output paths: they may point outside the folder."""
        for part in (*_FOLDERS, *_FILES):
            check_no_link(self.path / part)
        for file in self._files():
            check_no_link(file)

    def _check_empty(self) -> None:
        file = next(self._files(), None)
        if file is not None:
            raise OneBasinError(
                f"{self.path}: has {file.relative_to(self.path)} but no {MANIFEST}; choose "
                "another folder, or start again with resume=False (--restart), which removes it"
            )

    def _files(self) -> Iterator[Path]:
        """Yield the files of a training, except its manifest."""
        for pattern in ("running/*", "epochs/*", "history/*", "seed-*.safetensors"):
            yield from sorted(self.path.glob(pattern))

    def _write_text(self, file: Path, text: str) -> None:
        with atomic_path(file) as temporary:
            temporary.write_text(text, encoding="utf-8")


def group_name(number: int) -> str:
    """Return the file name of the state of a group."""
    return f"group-{number}"


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder, or None.

    Args:
        folder: the folder of a training.

    Raises:
        OneBasinError: if the file is not a manifest.
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    try:
        manifest = json.loads(file.read_text("utf-8")) if file.is_file() else None
    except (ValueError, RecursionError):
        manifest = None
    if not _is_manifest(manifest):
        raise OneBasinError(
            f"{file}: not the manifest of a training; choose another folder, or start again with "
            "resume=False (--restart)"
        )
    return manifest


def _is_manifest(manifest: Any) -> bool:
    """Return whether it describes a training and has each of its seeds in one group."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("wanted"), dict):
        return False
    seeds, groups = manifest["wanted"].get("seeds"), manifest.get("groups")
    if not isinstance(seeds, list) or not isinstance(groups, list):
        return False
    if not all(isinstance(group, list) for group in groups):
        return False
    grouped = [seed for group in groups for seed in group]
    are_whole = all(isinstance(seed, int) for seed in [*grouped, *seeds])
    return are_whole and sorted(grouped) == sorted(seeds)


def check_same(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that a folder holds the requested training.

    Args:
        path: the folder.
        there: the description of the stored training.
        wanted: the description of the requested training.

    Raises:
        OneBasinError: the two differ; the message names the first difference.
    """
    # The stored description has passed through JSON, so compare after the same conversion.
    wanted = json.loads(json.dumps(wanted))
    for name in [*wanted, *(key for key in there if key not in wanted)]:
        if there.get(name) != wanted.get(name):
            raise OneBasinError(
                f"{path}: holds another training, with {name} {_short(there.get(name))}, not "
                f"{_short(wanted.get(name))}; choose another folder, or start again with "
                "resume=False (--restart)"
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
