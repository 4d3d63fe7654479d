"""The architecture of a job: a module, a name, or the record of a checkpoint."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from onebasin._checks import check_model, described, model_inputs, named_tensors
from onebasin.api._reporter import Reporter
from onebasin.checkpoints import Architecture, build_architecture, open_checkpoint
from onebasin.checkpoints._arguments import parse_arguments
from onebasin.checkpoints._diagnosis import check_known_folder
from onebasin.checkpoints._metadata import (
    LIBRARIES,
    SOURCES,
    ArchitectureRecord,
    merged_arguments,
    read_record,
)
from onebasin.checkpoints._sources.callables import module_files
from onebasin.checkpoints.architectures import BUILTIN_ARCHITECTURES, Arguments
from onebasin.checkpoints.save import TORCH_OUTPUT_SUFFIXES
from onebasin.data._fitting import fit_data
from onebasin.data.data import Data
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.graph.batches import arguments_of, device_of, dtype_of

HF = "hf:"
_SUFFIXES = (".safetensors", ".json", *TORCH_OUTPUT_SUFFIXES)


def is_named(word: str) -> bool:
    """Return whether a word is the name of an architecture, even if a file has that name."""
    source, colon, _ = word.partition(":")
    return word in BUILTIN_ARCHITECTURES or (bool(colon) and source in SOURCES)


def is_path(word: str) -> bool:
    """Return whether a word is the path of a checkpoint, which may be missing."""
    if os.path.lexists(word):
        return True
    return ":" not in word and (os.sep in word or word.endswith(_SUFFIXES))


def is_model_folder(word: str) -> bool:
    """Return whether a word is a folder with a config.json."""
    return not is_named(word) and os.path.isfile(os.path.join(word, "config.json"))


def without_hf(word: str) -> str:
    """Return the folder of `hf:FOLDER`; any other word unchanged."""
    folder = word.removeprefix(HF)
    return folder if os.path.isdir(folder) else word


def _pass_name(spec: str) -> str:
    return f"pass the name of its architecture, such as {spec!r}"


def recorded_architecture(
    word: str,
    *,
    missing: str = "the architecture is missing",
    remedy: Callable[[str], str] = _pass_name,
) -> ArchitectureRecord:
    """Return the architecture that a checkpoint determines.

    Args:
        word: path of the checkpoint.
        missing: the problem if the checkpoint determines no architecture, for messages.
        remedy: function that returns how to give an architecture, from its name, for messages.

    Raises:
        OneBasinError: the checkpoint does not exist, determines no architecture, or records one
            that is code of the user.
    """
    path = without_hf(word)
    if not os.path.exists(path):
        raise OneBasinError(f"{path}: no such file or folder; check the path")
    recorded = read_record(path)
    if recorded is not None:
        _check_trusted(word, recorded.spec, remedy)
        return recorded
    if os.path.isfile(os.path.join(path, "config.json")):
        return ArchitectureRecord(f"{HF}{path}")
    if os.path.isdir(path):
        check_known_folder(path)
    else:
        open_checkpoint(path).close()
    what = "the folder has no config.json" if os.path.isdir(path) else "no architecture is recorded"
    raise ArgumentError(f"{missing} ({path}: {what}); {remedy('torchvision:resnet50')}")


def _check_trusted(word: str, spec: str, remedy: Callable[[str], str]) -> None:
    """Check that a file does not cause the import of a module of the user."""
    source, colon, _ = spec.partition(":")
    is_library = bool(colon) and source in LIBRARIES
    if spec not in BUILTIN_ARCHITECTURES and not is_library:
        raise ArgumentError(
            f"{word} records the architecture {spec!r}, which is not part of a known library; if "
            f"you trust it, {remedy(spec)}"
        )


@dataclass(frozen=True)
class NamedArchitecture:
    """An architecture that is built from its name.

    Args:
        spec: ARCH.
        arguments: its arguments, without those that a checkpoint records.
        inputs: shapes of example inputs, or none.
        seed: random seed of weights and example inputs.
        sizes: arguments that fit it to the data, of lowest priority.
        record: record of a checkpoint, or None.
        data: source of example inputs if `inputs` is empty, or None.
    """

    spec: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[str] = ()
    seed: int = 0
    sizes: Mapping[str, Any] = field(default_factory=dict)
    record: ArchitectureRecord | None = None
    data: Data | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that determine the architecture: a folder, or the module of a callable."""
        source, _, name = self.spec.partition(":")
        if source == "hf":
            return (Path(name),)
        is_callable = bool(name) and source not in LIBRARIES
        return module_files(source) if is_callable else ()

    @property
    def all_arguments(self) -> dict[str, Any]:
        """Arguments from the data, the record and the user; later ones have priority."""
        recorded = {} if self.record is None else self.record.arguments
        return {**self.sizes, **recorded, **self.arguments}

    @property
    def metadata(self) -> dict[str, str]:
        """The record of the architecture, for output files; an hf: folder has a config.json."""
        if self.spec.startswith("hf:"):
            return {}
        known = self.record or ArchitectureRecord(self.spec)
        arguments, inputs = self.all_arguments, tuple(self.inputs)
        return replace(known, arguments=arguments, inputs=inputs).to_metadata()

    def with_data(self, data: Data, sizes: Mapping[str, Any]) -> NamedArchitecture:
        """Return the architecture fitted to data, which also provide example inputs."""
        return replace(self, data=data, sizes=sizes)

    def build(self, reporter: Reporter, *, without_memory: bool = False) -> Architecture:
        """Return the built architecture.

        Some models, such as RegNets of torchvision, compute with tensors while they are built.
        They need memory, with a note.

        Args:
            reporter: shows progress and notes.
            without_memory: build on the meta device if possible.

        Raises:
            OneBasinError: it cannot be built.
        """
        with reporter.progress(f"building {self.spec}"):
            if not without_memory:
                return self._build_on("cpu")
            try:
                return self._build_on("meta")
            except OneBasinError:
                architecture = self._build_on("cpu")
        reporter.note(f"{self.spec} cannot be built without memory; it was built on the CPU")
        return architecture

    def _build_on(self, device: str) -> Architecture:
        return build_architecture(
            self.spec,
            arch_args=self.all_arguments,
            input_spec=list(self.inputs) or None,
            device=device,
            seed=self.seed,
            example_inputs=None if device == "meta" else self._example_of_data,
        )

    def _example_of_data(self, module: nn.Module) -> Arguments | None:
        if self.data is None or self.inputs:
            return None
        return _example_of_data(self.spec, module, self.data, "other arch_args=")


@dataclass(frozen=True)
class GivenModule:
    """A module of the user; its weights are ignored and do not change.

    Args:
        module: the module.
        example_inputs: the inputs of one call, or None.
        data: source of example inputs otherwise, or None.
    """

    module: nn.Module
    example_inputs: Any = None
    data: Data | None = None
    record: ArchitectureRecord | None = None

    @property
    def spec(self) -> str:
        """The name of the class."""
        return type(self.module).__name__

    files: tuple[Path, ...] = ()

    @property
    def metadata(self) -> dict[str, str]:
        """Empty: a module cannot be rebuilt from a name."""
        return {}

    def with_data(self, data: Data, sizes: Mapping[str, Any]) -> GivenModule:
        """Return the architecture with data, which provide example inputs."""
        return replace(self, data=data)

    def build(self, reporter: Reporter, *, without_memory: bool = False) -> Architecture:
        """Return a copy of the module that shares its tensors, with example inputs.

        Raises:
            OneBasinError: there are no example inputs, or the module does not take them.
        """
        module = _shallow_copy(self.module)
        if self.example_inputs is not None:
            given = self.example_inputs
            args, kwargs = model_inputs(module, given, None, name="example_inputs")
            args, kwargs = _on_device((args, kwargs), module)
        elif self.data is not None:
            remedy = "another module"
            args, kwargs = _example_of_data(self.spec, module, self.data, remedy)
        else:
            raise ArgumentError("example inputs are missing; pass example_inputs=, such as a batch")
        return Architecture(self.spec, module, tuple(args), kwargs, lambda device: module)


AnyArchitecture = NamedArchitecture | GivenModule


def architecture_of(
    model: Any,
    *,
    arch_args: Mapping[str, Any] | Iterable[str] | None = None,
    example_inputs: Any = None,
    seed: int = 0,
    record: ArchitectureRecord | None = None,
) -> AnyArchitecture:
    """Return the architecture of the argument `model`.

    Args:
        model: a module, or ARCH: the name of an architecture.
        arch_args: arguments of a named architecture, a mapping or `KEY=VALUE` texts.
        example_inputs: the inputs of one call; for a named architecture also shapes, such as
            "2x3x224x224".
        seed: random seed of weights and example inputs of a named architecture.
        record: record of a checkpoint, or None.

    Raises:
        OneBasinError: `model` is something else, or arguments contradict the record.
    """
    if isinstance(model, nn.Module):
        check_model(model)
        if arch_args:
            raise ArgumentError("arch_args= has no effect because model is a module; remove it")
        return GivenModule(model, example_inputs)
    check_is_architecture(model)
    spec = os.fspath(model)
    if os.path.isfile(os.path.join(spec, "config.json")):
        spec = f"hf:{spec}"
    arguments = parse_arguments(arch_args)
    if record is not None:
        merged_arguments(record, spec, arguments)
    inputs = _shapes(example_inputs) or (() if record is None else tuple(record.inputs))
    return NamedArchitecture(spec, arguments, inputs, seed, record=record)


def check_is_architecture(model: Any) -> None:
    """Raise an `OneBasinError` if the argument `model` is neither a module nor a name."""
    if not isinstance(model, nn.Module | str | os.PathLike):
        raise ArgumentError(
            f"model is {described(model)}; pass a torch.nn.Module, or the name of an "
            "architecture such as 'torchvision:resnet50'"
        )


def _shapes(example_inputs: Any) -> tuple[str, ...]:
    """Return the shapes of example inputs of a named architecture."""
    shapes = [example_inputs] if isinstance(example_inputs, str) else example_inputs
    if shapes is None:
        return ()
    if isinstance(shapes, list | tuple) and all(isinstance(each, str) for each in shapes):
        return tuple(shapes)
    raise ArgumentError(
        "example_inputs= of a named architecture is a shape, such as '2x3x32x32'; "
        "pass a module to use tensors"
    )


def _example_of_data(name: str, module: nn.Module, data: Data, remedy: str) -> Arguments:
    """Return example inputs from the data, in a form that the module takes."""
    fitted = fit_data(module, data, name=name, needs_loss=False, remedy=remedy)
    args, kwargs = arguments_of(fitted.example_inputs(), device_of(module), dtype_of(module))
    return tuple(args), dict(kwargs)


def _on_device(inputs: Any, module: nn.Module) -> Any:
    from torch.utils import _pytree as pytree

    device = device_of(module)
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), inputs)


def _shallow_copy(module: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode that shares all tensors but integers and booleans.

    Integer and boolean buffers can be indices or masks that the symmetry depends on. They are
    read from the checkpoints, and must not change in the module of the user.
    """
    memo: dict[int, Any] = {}
    for _, tensor in named_tensors(module):
        is_real = tensor.is_floating_point() or tensor.is_complex()
        memo[id(tensor)] = tensor if is_real else tensor.clone()
    try:
        return copy.deepcopy(module, memo).eval()
    except Exception as error:
        raise ArgumentError(
            f"{type(module).__name__} cannot be copied ({error}); pass the name of a function "
            "that builds it, such as 'package.module:build'"
        ) from error
