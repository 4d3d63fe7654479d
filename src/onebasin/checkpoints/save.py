"""Atomic writing of checkpoints, with one tensor in memory at a time.

Every given name is written with its own data, so a tied tensor takes space for each name. With
`like`, the output has the names of that file: all names of a tied tensor or only one, and also
names that differ from those of the module.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import torch
from torch import Tensor

from onebasin._files import atomic_folder, atomic_path, check_creatable, check_vacant
from onebasin.checkpoints._companions import companion_files
from onebasin.checkpoints._conversions import on_meta
from onebasin.checkpoints._diagnosis import first_bytes, is_checkpoint_start
from onebasin.checkpoints._lazy import TensorInfo, describe
from onebasin.checkpoints._safetensors import SafetensorsWriter
from onebasin.checkpoints.checkpoint import INDEX_SUFFIX, PICKLE_SUFFIXES, Checkpoint
from onebasin.errors import OneBasinError

Pairs = Iterable[tuple[str, Tensor]]
Tensors = Mapping[str, Tensor] | Pairs
Input = str | os.PathLike[str] | Checkpoint
MAX_SHARD_SIZE = 5_000_000_000
_INDEX = "model.safetensors.index.json"


def write_checkpoint(
    path: str | os.PathLike[str],
    tensors: Tensors,
    *,
    specs: Mapping[str, TensorInfo] | None = None,
    like: Checkpoint | None = None,
    metadata: Mapping[str, str] | None = None,
    inputs: Iterable[Input] = (),
    max_shard_size: int = MAX_SHARD_SIZE,
    configuration: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint to a temporary path, and rename it when it is complete.

    A `.safetensors` file and a folder are written tensor by tensor: a lazy mapping or a
    generator yields one tensor at a time, which is then freed. A file of torch.save
    (`.pt`, `.pth`, `.bin`, `.th`) is collected in memory first. A folder gets
    `model.safetensors`, or shards with an index if it is too large, and the
    configuration, tokenizer and license files of the folder that `like` was read from.

    Args:
        path: the output; its suffix selects the format. An existing checkpoint is replaced;
            any other existing file is not. An existing folder must be empty.
        tensors: names with tensors. An iterable of pairs may come in any order, but needs
            `specs` or `like`.
        specs: shape and dtype of every tensor by name. Default: those of `like` or
            `tensors`, with shapes of `tensors` if both are mappings of known shapes.
        like: the checkpoint whose names and dtypes the output has. `tensors` have the
            names of this mapping, and are written under the names of its files.
        metadata: text for the header of safetensors files, in addition to `{"format": "pt"}`.
        inputs: checkpoints or paths that must not be replaced; `like` is one of them.
        max_shard_size: largest number of bytes in one file of a folder; a larger tensor gets
            a separate file.
        configuration: entries of the copied config.json to replace.

    Raises:
        OneBasinError: `path` cannot be written, is an input, an existing file that is not a
            checkpoint, or a folder that is not empty; or the disk has too little free space.
    """
    check_writable(path, inputs=[*inputs, *([like] if like is not None else [])])
    specs = _specs(tensors, specs, like)
    if not specs:
        raise OneBasinError(f"{path}: the checkpoint has no tensors; pass at least one")
    pairs = _pairs(tensors, specs)
    if like is not None:
        pairs = like.as_stored(pairs)
        stored = like.as_stored(on_meta(specs).items())
        specs = {name: TensorInfo.of(tensor) for name, tensor in stored}
    _check_room(path, specs)
    source = like.folder if like is not None and output_form(path) == "folder" else None
    companions = [] if source is None else companion_files(source)
    header = {"format": "pt", **(metadata or {})}
    try:
        match output_form(path):
            case "safetensors":
                with atomic_path(path) as temporary:
                    _write_files({temporary: specs}, pairs, header)
            case "torch":
                with atomic_path(path) as temporary:
                    _write_pickle(temporary, pairs, specs)
            case "folder":
                with atomic_folder(path) as temporary:
                    _write_folder(temporary, pairs, specs, header, max_shard_size)
                    for file in companions:
                        shutil.copyfile(file, temporary / file.name)
                    if configuration:
                        _replace_entries(temporary / "config.json", configuration)
    except OSError as error:
        raise OneBasinError(
            f"{path}: cannot be written ({error.strerror}); free space or choose another output"
        ) from error


def _replace_entries(file: Path, entries: Mapping[str, Any]) -> None:
    if file.exists():
        content = {**json.loads(file.read_text(encoding="utf-8")), **entries}
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _specs(
    tensors: Tensors,
    specs: Mapping[str, TensorInfo] | None,
    like: Checkpoint | None,
) -> Mapping[str, TensorInfo]:
    if specs is not None:
        return specs
    mapping = _as_mapping(tensors)
    source = like if like is not None else mapping
    assert source is not None, "pairs need specs= or like= to be written"
    found = {name: describe(source, name) for name in source}
    if mapping is None or like is None:
        return found
    shapes = {name: describe(mapping, name).shape for name in found if name in mapping}
    return {name: replace(info, shape=shapes.get(name, info.shape)) for name, info in found.items()}


def _as_mapping(tensors: Tensors) -> Mapping[str, Tensor] | None:
    return cast(Mapping[str, Tensor], tensors) if isinstance(tensors, Mapping) else None


def _check_room(path: str | os.PathLike[str], specs: Mapping[str, TensorInfo]) -> None:
    needed = sum(info.nbytes for info in specs.values())
    free = shutil.disk_usage(Path(os.path.realpath(path)).parent).free
    if needed > free:
        raise OneBasinError(
            f"{path}: needs {needed:,} bytes but {free:,} are free there; "
            "free space or choose another output"
        )


def _pairs(tensors: Tensors, order: Iterable[str]) -> Pairs:
    mapping = _as_mapping(tensors)
    if mapping is None:
        return cast(Pairs, tensors)
    return ((name, mapping[name]) for name in order)


def _write_files(
    files: Mapping[Path, Mapping[str, TensorInfo]],
    pairs: Pairs,
    header: Mapping[str, str],
) -> None:
    """Write several safetensors files at the same time, in the order of the tensors."""
    with contextlib.ExitStack() as stack:
        writers = [
            SafetensorsWriter(stack.enter_context(open(file, "wb")), specs, header)
            for file, specs in files.items()
        ]
        writer_of = {name: writer for writer in writers for name in writer.order}
        for name, tensor in pairs:
            assert name in writer_of, f"{name!r} was never announced"
            writer_of[name].write(name, tensor)
            del tensor  # frees its memory before the next tensor is computed
        for writer in writers:
            writer.finish()


def _write_pickle(
    path: Path,
    pairs: Pairs,
    specs: Mapping[str, TensorInfo],
) -> None:
    content = {name: _compact(tensor) for name, tensor in pairs}
    infos = {name: TensorInfo.of(tensor) for name, tensor in content.items()}
    assert infos == specs, "the tensors are not the announced ones"
    # Given a path, torch.save would write its random name into the file.
    with open(path, "wb") as file:
        recorder = _ErrorRecorder(file)
        try:
            torch.save({name: content[name] for name in specs}, cast(BinaryIO, recorder))
        except RuntimeError as error:
            raise recorder.error or error from error


class _ErrorRecorder:
    """A file that records the error of a failed write, because torch.save raises another one.

    Args:
        file: open for writing in binary mode.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:
        """Write to the file."""
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()


def _compact(tensor: Tensor) -> Tensor:
    """Return a tensor without its larger storage, which torch.save would write completely."""
    tensor = tensor.detach()
    # In a memory map, an empty tensor has the address of the next one; torch.save rejects it.
    is_whole = tensor.untyped_storage().nbytes() == tensor.nbytes > 0
    return tensor if is_whole else tensor.clone()


def _write_folder(
    folder: Path,
    pairs: Pairs,
    specs: Mapping[str, TensorInfo],
    header: Mapping[str, str],
    max_shard_size: int,
) -> None:
    shards = list(_shards(specs, max_shard_size))
    total = len(shards)
    if total == 1:
        _write_files({folder / "model.safetensors": specs}, pairs, header)
        return
    names = [f"model-{number:05d}-of-{total:05d}.safetensors" for number in range(1, total + 1)]
    files = dict(zip(names, shards, strict=True))
    _write_files({folder / file: shard for file, shard in files.items()}, pairs, header)
    index = {
        "metadata": {"total_size": sum(info.nbytes for info in specs.values())},
        "weight_map": {name: file for file, shard in files.items() for name in shard},
    }
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _shards(
    specs: Mapping[str, TensorInfo], max_shard_size: int
) -> Iterator[dict[str, TensorInfo]]:
    """Yield groups of tensors, in order, of at most the given size."""
    shard: dict[str, TensorInfo] = {}
    size = 0
    for name, info in specs.items():
        if shard and size + info.nbytes > max_shard_size:
            yield shard
            shard, size = {}, 0
        shard[name] = info
        size += info.nbytes
    yield shard


OutputForm = Literal["safetensors", "torch", "folder"]
TORCH_OUTPUT_SUFFIXES = PICKLE_SUFFIXES


def output_form(path: str | os.PathLike[str]) -> OutputForm:
    """Return the format of a checkpoint from its path.

    Args:
        path: the output; a folder if it ends in a slash, has no suffix, or is a folder.

    Returns:
        `safetensors`, `torch` (a file of torch.save) or `folder`.

    Raises:
        OneBasinError: the suffix is unknown.
    """
    target = Path(path)
    if str(path).endswith(("/", os.sep)) or not target.suffix:
        return "folder"
    if target.suffix == ".safetensors":
        return "safetensors"
    if target.suffix in TORCH_OUTPUT_SUFFIXES:
        return "torch"
    if os.path.isdir(target):
        return "folder"
    raise OneBasinError(
        f"{path}: unknown kind of output {target.suffix!r}; expected .safetensors, "
        f"{', '.join(TORCH_OUTPUT_SUFFIXES)}, or a folder written with a '/' at its end"
    )


def check_writable(path: str | os.PathLike[str], *, inputs: Iterable[Input] = ()) -> None:
    """Check, before long work, that a checkpoint can be written to a path.

    Args:
        path: the output, as for `write_checkpoint`.
        inputs: checkpoints or their paths, whose files must not be replaced.

    Raises:
        OneBasinError: the kind of output is unknown, the parent folder is missing or
            not writable, the folder is not empty, or the output is an input or an existing file
            that is not a checkpoint.
    """
    if output_form(path) == "folder":
        _check_not_input(path, inputs)
        check_vacant(path)
        check_creatable(path)
    else:
        check_file_writable(path, inputs=inputs)
        check_replaceable(path)


def check_replaceable(
    path: str | os.PathLike[str],
    kind: str = "a checkpoint",
    is_start: Callable[[bytes], bool] = is_checkpoint_start,
) -> None:
    """Check that a path is missing, an empty file, or of the kind that will be written.

    Args:
        path: the output file.
        kind: the kind, for messages.
        is_start: function that returns whether the first bytes of a file are of this kind.

    Raises:
        OneBasinError: it is another file, which must not be lost.
    """
    start = first_bytes(Path(path)) if os.path.isfile(path) else b""
    if start and not is_start(start):
        raise OneBasinError(
            f"{path}: exists and is not {kind}, so it is not replaced; remove it or choose "
            "another output"
        )


def check_file_writable(path: str | os.PathLike[str], *, inputs: Iterable[Input] = ()) -> None:
    """Check, before long work, that a file can be written to a path.

    Args:
        path: the output; an existing file will be replaced.
        inputs: checkpoints or their paths, whose files must not be replaced.

    Raises:
        OneBasinError: the parent folder is missing or not writable, or the output is an input.
    """
    _check_not_input(path, inputs)
    if os.path.isdir(path):
        raise OneBasinError(f"{path}: is a folder; give the path of a file to write")
    check_creatable(path)


def _check_not_input(path: str | os.PathLike[str], inputs: Iterable[Input]) -> None:
    if not os.path.exists(path):
        return
    for source in inputs:
        if _is_below(path, source) or any(
            os.path.exists(file) and os.path.samefile(path, file) for file in _files_of(source)
        ):
            input_path = source.path if isinstance(source, Checkpoint) else source
            raise OneBasinError(
                f"{path}: is the input {input_path} or part of it, which is never replaced; "
                "choose another output"
            )


def _is_below(path: str | os.PathLike[str], source: Input) -> bool:
    """Return whether a path is a file inside an input folder, at any depth."""
    if isinstance(source, Checkpoint) or not (os.path.isfile(path) and os.path.isdir(source)):
        return False
    return Path(path).resolve().is_relative_to(Path(source).resolve())


def _files_of(source: Input) -> Iterator[Path]:
    """Return the files of an input, and its folder if it is one."""
    if isinstance(source, Checkpoint):
        yield from (source.path, *source.files)
        folder = source.folder
    else:
        path = Path(source)
        yield path
        folder = path if os.path.isdir(path) else None
        if path.name.endswith(INDEX_SUFFIX):
            folder = path.parent
    if folder is not None and os.path.isdir(folder):
        yield folder
        yield from folder.iterdir()
