"""Networks: checkpoints of one architecture, checked before any work starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

from torch import nn

from onebasin.checkpoints import (
    Architecture,
    Checkpoint,
    TiedView,
    build_architecture,
    check_all_finite,
    check_fits,
    check_same_architecture,
    completed,
    is_same_checkpoint,
    open_checkpoint,
    open_checkpoint_for,
    optional_names,
    tied_names,
)
from onebasin.checkpoints.architectures import Arguments
from onebasin.checkpoints.arguments import parse_arguments
from onebasin.checkpoints.folders import (
    check_same_configuration,
    check_same_folder,
    model_folder,
)
from onebasin.checkpoints.records import LIBRARIES, ArchitectureRecord, merged_arguments
from onebasin.checkpoints.sources.callables import module_files
from onebasin.cli.console import Console
from onebasin.errors import OneBasinError
from onebasin.forward.batches import arguments_of, device_of, dtype_of
from onebasin.training.datasets.data import Data
from onebasin.training.fitting import fit_data

LARGE = 1_000_000_000


@dataclass(frozen=True)
class ArchitectureChoice:
    """What the user said about the architecture.

    Args:
        spec: ARCH.
        arguments: `KEY=VALUE` texts.
        inputs: texts of example inputs.
        seed: of random weights and inputs.
        sizes: arguments that fit it to data, where the user gives no others.
        record: what a checkpoint records about it, or None.
        data: example inputs come from these, where the user gives no others, or None.
        call: the command, for messages about the data.
    """

    spec: str
    arguments: Sequence[str] | None = None
    inputs: Sequence[str] | None = None
    seed: int = 0
    sizes: Mapping[str, Any] = field(default_factory=dict)
    record: ArchitectureRecord | None = None
    data: Data | None = None
    call: str = "data"

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that determine the architecture: of a folder, or the module of a callable."""
        source, _, name = self.spec.partition(":")
        if source == "hf":
            return (Path(name),)
        is_callable = bool(name) and source not in LIBRARIES
        return module_files(source) if is_callable else ()

    @classmethod
    def of(
        cls,
        architecture: ArchitectureRecord,
        arguments: Sequence[str] | None,
        inputs: Sequence[str] | None,
        seed: int,
    ) -> ArchitectureChoice:
        """Return the choice of a named or recorded architecture.

        Args:
            architecture: name, and what a checkpoint records about it.
            arguments: `--arch-arg`, which must not contradict a record.
            inputs: `--input`, which takes precedence.
            seed: random seed of weights and inputs.

        Raises:
            OneBasinError: when the arguments contradict a record.
        """
        inputs = inputs or list(architecture.inputs) or None
        merged_arguments(architecture, architecture.spec, parse_arguments(arguments))
        return cls(architecture.spec, arguments, inputs, seed, record=architecture)

    @property
    def all_arguments(self) -> dict[str, Any]:
        """The arguments of the architecture: fitted to data, recorded, or given by the user."""
        recorded = {} if self.record is None else self.record.arguments
        return {**self.sizes, **recorded, **parse_arguments(self.arguments)}

    @property
    def metadata(self) -> dict[str, str]:
        """The record of the architecture, for files of networks that are made of these.

        Folders of transformers have a config.json instead.
        """
        if self.spec.startswith("hf:"):
            return {}
        known = self.record or ArchitectureRecord(self.spec)
        arguments, inputs = self.all_arguments, tuple(self.inputs or ())
        return replace(known, arguments=arguments, inputs=inputs).to_metadata()

    def build(self, console: Console, *, without_memory: bool = False) -> Architecture:
        """Build the architecture.

        Some cannot be built without memory, torchvision's RegNets for one, because they
        compute with tensors while they are built. They are built with it, and a note says so.

        Args:
            console: where progress and notes are shown.
            without_memory: on the meta device, where that is possible.

        Raises:
            OneBasinError: when it cannot be built.
        """
        with console.progress(f"building {self.spec}"):
            if not without_memory:
                return self._build_on("cpu")
            try:
                return self._build_on("meta")
            except OneBasinError:
                architecture = self._build_on("cpu")
        console.note(f"{self.spec} cannot be built without memory; it was built on the CPU")
        return architecture

    def _example_of_data(self, module: nn.Module) -> Arguments | None:
        """Return example inputs from the data, in a form that the module takes."""
        if self.data is None or self.inputs:
            return None
        words = {"call": self.call, "name": self.spec, "remedy": "another --arch-arg"}
        data = fit_data(module, self.data, needs_loss=False, **words)
        return arguments_of(data.example_inputs(), device_of(module), dtype_of(module))

    def _build_on(self, device: str) -> Architecture:
        return build_architecture(
            self.spec,
            arch_args=self.all_arguments,
            input_spec=list(self.inputs) if self.inputs else None,
            device=device,
            seed=self.seed,
            example_inputs=None if device == "meta" else self._example_of_data,
        )


@dataclass(frozen=True)
class Networks:
    """Checkpoints that fit an architecture, the reference first.

    Args:
        architecture: with its module and example inputs.
        checkpoints: as stored.
        params_list: the same under all names of tied tensors.
        twins: two that hold the same tensors, or None.
        metadata: the record of the architecture, for files of networks that are made of these.
    """

    architecture: Architecture
    checkpoints: tuple[Checkpoint, ...]
    params_list: tuple[TiedView, ...]
    twins: tuple[Checkpoint, Checkpoint] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def open_networks(
    choice: ArchitectureChoice,
    paths: Sequence[Path],
    *,
    call: str,
    console: Console,
    is_run: bool = True,
    keys: Sequence[str] | None = None,
) -> Iterator[Networks]:
    """Open checkpoints of an architecture for the time of a block.

    Args:
        choice: of the architecture.
        paths: the reference, and one or more others.
        call: the command, for messages.
        console: where progress is shown.
        is_run: whether the module will be run; where not, a large one is built without memory.
        keys: which state dict of each file to read: one for all, or one for each; None for
            the defaults.

    Raises:
        OneBasinError: when the architecture cannot be built, a checkpoint cannot be read, does
            not fit, or holds NaN or Inf, or folders contradict each other.
    """
    _compare_folders(choice, paths, call, console)
    _compare_normalization(choice, console)
    all_keys = keys_for(keys, len(paths), call=call)
    size = min(_num_entries(path, key) for path, key in zip(paths, all_keys, strict=True))
    architecture = choice.build(console, without_memory=not is_run and size >= LARGE)
    with contextlib.ExitStack() as stack:
        module = architecture.module
        opened = tuple(
            stack.enter_context(open_checkpoint_for(architecture, path, key=key))
            for path, key in zip(paths, all_keys, strict=True)
        )
        ties, optional = tied_names(module), optional_names(module)
        for checkpoint in opened:
            check_fits(checkpoint, module, call=call)
        for checkpoint in opened[1:]:
            check_same_architecture(opened[0], checkpoint, call=call, ties=ties, optional=optional)
        for text in dict.fromkeys(f"{c.path}: {note}" for c in opened for note in c.notes):
            console.note(text)
        with console.progress("reading the checkpoints"):
            for checkpoint in opened:
                check_all_finite(checkpoint)
            pairs = combinations(opened, 2)
            twins = next((pair for pair in pairs if is_same_checkpoint(*pair)), None)
        _load_numbers(module, opened[0])
        params_list = tuple(TiedView(c, ties) for c in completed(opened, module))
        yield Networks(architecture, opened, params_list, twins, choice.metadata)


def _load_numbers(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a module the whole-number and boolean buffers of a checkpoint.

    They can be indices or masks, which a symmetry depends on.
    """
    for name, buffer in module.named_buffers():
        if name in checkpoint and buffer.dim() and not buffer.is_meta:
            if not (buffer.is_floating_point() or buffer.is_complex()):
                buffer.copy_(checkpoint[name])


def _compare_normalization(choice: ArchitectureChoice, console: Console) -> None:
    """Note that the data are normalized in another way than those of the training."""
    trained = choice.record and choice.record.normalization
    here = choice.data and choice.data.normalization
    if trained and here and trained != here:
        assert choice.record is not None
        console.note(
            f"{choice.record.path} was trained on inputs normalized with {trained}, but here it is "
            f"{here}; pass --normalize to change that"
        )


def _compare_folders(
    choice: ArchitectureChoice, paths: Sequence[Path], call: str, console: Console
) -> None:
    """Compare the Hugging Face folders of checkpoints with that of the reference."""
    reference = model_folder(paths[0])
    if reference is None:
        return
    source, _, folder = choice.spec.partition(":")
    if source == "hf" and os.path.isdir(folder):
        skipped = parse_arguments(choice.arguments)
        check_same_configuration(Path(folder), reference, call=call, skipped=skipped)
    for path in paths[1:]:
        other = model_folder(path)
        if other is None:
            console.note(f"{path} has no config.json, so its configuration is not compared")
            continue
        for note in check_same_folder(reference, other, call=call):
            console.note(note)


def keys_for(keys: Sequence[str] | None, num_paths: int, *, call: str) -> list[str | None]:
    """Return the key of each checkpoint.

    Args:
        keys: `--key`, given once for all checkpoints or once for each.
        num_paths: number of checkpoints.
        call: the command, for messages.

    Raises:
        OneBasinError: when the number of keys is another one.

    Example:
        >>> keys_for(["model_ema"], 2, call="align")
        ['model_ema', 'model_ema']
    """
    if not keys:
        return [None] * num_paths
    if len(keys) not in (1, num_paths):
        raise OneBasinError(
            f"{call}: --key is given {len(keys)} times for {num_paths} checkpoints; give it once "
            "for all, or once for each ('.' for the default of a file)"
        )
    return [*keys] * (num_paths if len(keys) == 1 else 1)


def _num_entries(path: Path, key: str | None) -> int:
    """Count the entries of a checkpoint's tensors; this finds unreadable files early, too."""
    with open_checkpoint(path, key=key) as checkpoint:
        return sum(prod(checkpoint.metadata(name).shape) for name in checkpoint)


def refuse_same(networks: Networks, call: str) -> None:
    """Refuse checkpoints that hold the same tensors.

    Raises:
        OneBasinError: when two of them do.
    """
    if networks.twins is not None:
        a, b = (checkpoint.path for checkpoint in networks.twins)
        same = f"{a} is given twice" if a == b else f"{a} and {b} hold the same tensors"
        raise OneBasinError(
            f"{call}: {same}, so there is nothing to {call}; give independently trained networks"
        )
