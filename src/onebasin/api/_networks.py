"""The networks of a job: opened and checked before any long work, and named in reports."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor, nn

from onebasin.api._architectures import AnyArchitecture, NamedArchitecture
from onebasin.api._reporter import Reporter
from onebasin.api._sources import Source
from onebasin.checkpoints import (
    Architecture,
    Checkpoint,
    TiedView,
    check_all_finite,
    check_fits,
    check_same_architecture,
    completed,
    is_same_checkpoint,
    optional_names,
    tied_names,
)
from onebasin.checkpoints._folders import check_same_configuration, check_same_folder, model_folder
from onebasin.checkpoints._lazy import LazyMapping, TensorInfo, describe
from onebasin.errors import ArgumentError
from onebasin.graph._normalization import layers_with_statistics
from onebasin.graph.batches import device_of

UNALIGNED, ALIGNED = "average, unaligned", "average, aligned"
MERGED = "merged"
CONSTANT = "constant prediction"
OF_PAIRS = ", mean of pairs"
_AVERAGES = tuple(f"{name}{end}" for name in (UNALIGNED, ALIGNED) for end in ("", OF_PAIRS))


def ensemble_name(members: Sequence[str]) -> str:
    """Return the name of the row of an ensemble.

    Args:
        members: names of the networks in it.

    Example:
        >>> ensemble_name(["A", "B"])
        'ensemble of A and B'
    """
    return f"ensemble of {' and '.join(members) if len(members) < 3 else f'all {len(members)}'}"


def names_of(
    labels: Sequence[str],
    *,
    keys: Sequence[str] = (),
    reserved: Collection[str] = (),
) -> list[str]:
    """Return the shortest names that distinguish networks from each other and from results.

    Args:
        labels: paths of the networks, or other names.
        keys: one key for each network, which its name then includes, or none.
        reserved: names of further rows of the report.

    Raises:
        OneBasinError: a network is given twice.

    Example:
        >>> names_of(["runs/a.pt", "runs/b.pt"])
        ['a', 'b']
        >>> names_of(["a.pt", "merged.pt"], reserved=["merged"])
        ['a.pt', 'merged.pt']
    """
    ends = [f"[{key}]" for key in keys] or [""] * len(labels)
    given = list(zip(map(Path, labels), ends, strict=True))
    twice = next((each for each in given if given.count(each) > 1), None)
    if twice is not None:
        raise ArgumentError(f"{''.join(map(str, twice))} is given twice; give each checkpoint once")
    # The last form always works: no name of a result starts with a dot or a slash.
    forms = (lambda path: path.stem, lambda path: path.name, str, lambda p: os.path.join(".", p))
    every = ([f"{form(path)}{end}" for path, end in given] for form in forms)
    taken = {CONSTANT, *_AVERAGES, *reserved}
    return next(names for names in every if _are_free(names, taken))


def _are_free(names: Sequence[str], taken: Collection[str]) -> bool:
    moved = {f"{name} aligned" for name in names}
    results = moved.union(taken)
    is_free = not any(name in results or name.startswith("ensemble of ") for name in names)
    return is_free and len(set(names)) == len(names)


LARGE = 1_000_000_000


@dataclass(frozen=True)
class Networks:
    """Networks that fit an architecture, the reference first.

    Args:
        architecture: the built architecture.
        checkpoints: the stored networks.
        params_list: parameters of the networks under all names of tied tensors, on the device
            of the module.
        duplicates: two networks with the same tensors, or None.
        metadata: the record of the architecture, for output files.
    """

    architecture: Architecture
    checkpoints: tuple[Checkpoint, ...]
    params_list: tuple[Mapping[str, Tensor], ...]
    duplicates: tuple[Checkpoint, Checkpoint] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_statistics(self) -> bool:
        """Whether the architecture has layers with running statistics, such as BatchNorm."""
        return bool(layers_with_statistics(self.architecture.module))


@contextlib.contextmanager
def open_networks(
    architecture: AnyArchitecture,
    sources: Sequence[Source],
    *,
    reporter: Reporter,
    is_run: bool = True,
) -> Iterator[Networks]:
    """Open networks of an architecture for the time of a block.

    Args:
        architecture: architecture of all networks.
        sources: the reference, and one or more others.
        reporter: shows progress and notes.
        is_run: whether the module will be run; otherwise a large one is built without memory.

    Raises:
        OneBasinError: the architecture cannot be built; a network cannot be read, does not fit,
            or contains NaN or Inf; or folders contradict each other.
    """
    size = min(source.num_entries() for source in sources)
    _compare_folders(architecture, sources, reporter)
    _compare_normalization(architecture, reporter)
    built = architecture.build(reporter, without_memory=not is_run and size >= LARGE)
    with contextlib.ExitStack() as stack:
        module = built.module
        opened = tuple(stack.enter_context(source.open(built)) for source in sources)
        ties, optional = tied_names(module), optional_names(module)
        for checkpoint in opened:
            with _names_data(architecture):
                check_fits(checkpoint, module)
        for checkpoint in opened[1:]:
            check_same_architecture(opened[0], checkpoint, ties=ties, optional=optional)
        for text in dict.fromkeys(f"{c.path}: {note}" for c in opened for note in c.notes):
            reporter.note(text)
        with reporter.progress("reading the checkpoints"):
            for checkpoint in opened:
                check_all_finite(checkpoint)
            pairs = combinations(opened, 2)
            duplicates = next((pair for pair in pairs if is_same_checkpoint(*pair)), None)
        _load_numbers(module, opened[0])
        params_list = tuple(
            on_device_of(module, TiedView(each, ties)) for each in completed(opened, module)
        )
        yield Networks(built, opened, params_list, duplicates, architecture.metadata)


class _OnDevice(LazyMapping):
    """Tensors that are moved to a device when they are read."""

    def __init__(self, params: Mapping[str, Tensor], device: torch.device) -> None:
        super().__init__(params)
        self._params, self._device = params, device
        self.path = getattr(params, "path", None)

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without reading it if its source can do so."""
        return describe(self._params, name)

    def __getitem__(self, name: str) -> Tensor:
        return self._params[name].to(self._device)


def on_device_of(module: nn.Module, params: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the parameters of a network on the device of a module, lazily."""
    device = device_of(module)
    return params if device.type in ("cpu", "meta") else _OnDevice(params, device)


def _load_numbers(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy the integer and boolean buffers of a checkpoint into a module.

    They can be indices or masks, which a symmetry depends on.
    """
    for name, buffer in module.named_buffers():
        if name in checkpoint and buffer.dim() and not buffer.is_meta:
            if not (buffer.is_floating_point() or buffer.is_complex()):
                buffer.copy_(checkpoint[name])


def _compare_normalization(architecture: AnyArchitecture, reporter: Reporter) -> None:
    """Note that the normalization of the data differs from that of the training data."""
    record = architecture.record
    trained = record and record.normalization
    here = architecture.data and architecture.data.normalization
    if record is not None and trained and here and trained != here:
        reporter.note(
            f"{record.path} was trained on inputs normalized with {trained}, but here it is "
            f"{here}; pass normalize= to change that"
        )


@contextlib.contextmanager
def _names_data(architecture: AnyArchitecture) -> Iterator[None]:
    """Add the sizes that the data gave the architecture to an error about its shapes."""
    try:
        yield
    except ArgumentError as error:
        if not isinstance(architecture, NamedArchitecture) or architecture.data is None:
            raise
        used = architecture.all_arguments
        given = [f"{name}={x!r}" for name, x in architecture.sizes.items() if used[name] == x]
        if not given:
            raise
        problem = str(error).partition(";")[0]
        raise ArgumentError(
            f"{problem}, because the data {architecture.data.name} gave it {', '.join(given)}; "
            "choose other data, or set these arguments by arch_args="
        ) from error


def _compare_folders(
    architecture: AnyArchitecture, sources: Sequence[Source], reporter: Reporter
) -> None:
    """Compare the Hugging Face folders of networks with that of the reference."""
    first = sources[0].path
    reference = None if first is None else model_folder(first)
    if reference is None:
        return
    source, _, folder = architecture.spec.partition(":")
    if source == "hf" and os.path.isdir(folder) and isinstance(architecture, NamedArchitecture):
        skipped = architecture.arguments
        check_same_configuration(Path(folder), reference, skipped=skipped)
    for each in sources[1:]:
        other = None if each.path is None else model_folder(each.path)
        if other is None:
            reporter.note(f"{each.label} has no config.json, so its configuration is not compared")
            continue
        for note in check_same_folder(reference, other):
            reporter.note(note)


def check_distinct(networks: Networks, action: str) -> None:
    """Check that no two networks hold the same tensors.

    Args:
        networks: the open networks.
        action: what is done with them, such as "merge", for messages.

    Raises:
        OneBasinError: two of them do.
    """
    if networks.duplicates is not None:
        a, b = (checkpoint.path for checkpoint in networks.duplicates)
        same = f"{a} is given twice" if a == b else f"{a} and {b} hold the same tensors"
        raise ArgumentError(
            f"{same}, so there is nothing to {action}; give independently trained networks"
        )
