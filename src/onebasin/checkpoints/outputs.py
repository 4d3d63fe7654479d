"""Validation of outputs: a known format, a writable place, and not an input."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from onebasin._files import check_creatable, check_vacant
from onebasin.checkpoints.reading import INDEX_SUFFIX, PICKLE_SUFFIXES, Checkpoint
from onebasin.errors import OneBasinError

OutputForm = Literal["safetensors", "torch", "folder"]
Input = str | os.PathLike[str] | Checkpoint
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
        OneBasinError: the kind of output is unknown, the place is missing or cannot be
            written to, a folder already holds something, or the output is an input.
    """
    if output_form(path) == "folder":
        _check_not_input(path, inputs)
        check_vacant(path)
        check_creatable(path)
    else:
        check_file_writable(path, inputs=inputs)


def check_file_writable(path: str | os.PathLike[str], *, inputs: Iterable[Input] = ()) -> None:
    """Check, before long work, that a file can be written to a path.

    Args:
        path: the output; an existing file will be replaced.
        inputs: checkpoints or their paths, whose files must not be replaced.

    Raises:
        OneBasinError: the place is missing or cannot be written to, or the output is an input.
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
