"""Outputs: what a command writes, checked before any long work starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onebasin import __version__
from onebasin._atomic import check_no_link
from onebasin.checkpoints import check_file_writable, check_writable
from onebasin.checkpoints.companions import companion_files
from onebasin.checkpoints.outputs import output_form
from onebasin.checkpoints.provenance import provenance_metadata
from onebasin.checkpoints.sources.callables import module_files
from onebasin.cli.alignment import Alignment
from onebasin.cli.measuring import DataChoice
from onebasin.cli.pairs import Networks
from onebasin.cli.request import Request
from onebasin.errors import OneBasinError


def input_files(request: Request, data: DataChoice | None = None) -> tuple[Path, ...]:
    """Return the files and folders that a command reads, of which no file may be replaced.

    Args:
        request: the networks of the command, with their symmetry and architecture.
        data: the data of the command, or None.
    """
    files = [*request.paths, *request.architecture.files]
    if request.symmetry.file is not None:
        files.append(request.symmetry.file)
    for choice in (data, request.method.data):
        if choice is not None:
            files += data_files(choice.name, choice.root)
    return tuple(files)


def data_files(name: str, root: Path | None = None) -> tuple[Path, ...]:
    """Return what `--data` names: a file, a folder, or the module of a callable.

    Args:
        name: `--data`.
        root: `--data-root`, or None.
    """
    from onebasin.training.datasets.loading import local_data

    local = local_data(name, root=root)
    if local is not None:
        return (local,)
    return module_files(name.partition(":")[0]) if ":" in name else ()


def check_files_in(folder: Path, names: Iterable[str], inputs: Sequence[Path] = ()) -> None:
    """Check that the files that a command puts into a folder can be written there.

    Args:
        folder: the output folder.
        names: of the files.
        inputs: files that must not be replaced.

    Raises:
        OneBasinError: when one of them is a link, a folder or an input.
    """
    for name in names:
        check_no_link(folder / name)
        if os.path.lexists(folder / name):
            check_file_writable(folder / name, inputs=inputs)


def check_outputs(
    output: Path, permutation_file: Path | None, request: Request, *, like: Path
) -> None:
    """Check, before long work, that the outputs of a command can be written.

    Args:
        output: where a network goes.
        permutation_file: where a permutation goes, or None.
        request: the networks of the command.
        like: the checkpoint whose configuration files go to an output folder.

    Raises:
        OneBasinError: when a path cannot be written, is an input, or is given twice, or a file
            that would be copied to a folder is outside the folder of the checkpoint.
    """
    inputs = input_files(request)
    check_writable(output, inputs=inputs)
    if output_form(output) == "folder" and like.is_dir():
        companion_files(like)
    for path in permutation_files(permutation_file, len(request.paths)):
        check_file_writable(path, inputs=inputs)
        if path.suffix != ".safetensors":
            raise OneBasinError(
                f"{path}: a permutation is written as .safetensors; choose such a name"
            )
        if path.resolve() == output.resolve():
            raise OneBasinError(
                f"{output}: cannot hold both the network and the permutation; give two paths"
            )


def permutation_files(path: Path | None, num_networks: int) -> list[Path]:
    """Return where the permutations of all networks but the first go.

    Args:
        path: `--save-permutation`, or None.
        num_networks: the reference among them; of more than two each file has the number of its
            network in its name, counted from 1.

    Example:
        >>> [path.name for path in permutation_files(Path("p.safetensors"), 3)]
        ['p-2.safetensors', 'p-3.safetensors']
    """
    if path is None:
        return []
    if num_networks == 2:
        return [path]
    return [
        path.with_name(f"{path.stem}-{number}{path.suffix}")
        for number in range(2, num_networks + 1)
    ]


def output_metadata(networks: Networks, command: str, **facts: Any) -> dict[str, str]:
    """Return the metadata of a network that a command computes from checkpoints.

    Args:
        networks: the checkpoints and the record of their architecture.
        command: the command.
        **facts: further plain JSON values, such as the method; None is omitted.
    """
    sources = [checkpoint.path for checkpoint in networks.checkpoints]
    return result_metadata(networks.metadata, command, sources, **facts)


def result_metadata(
    record: Mapping[str, str], command: str, sources: Sequence[Path], **facts: Any
) -> dict[str, str]:
    """Return a record of an architecture together with provenance.

    Args:
        record: metadata that records the architecture.
        command: the command.
        sources: the checkpoints, the reference first.
        **facts: further plain JSON values, such as the method; None is omitted.
    """
    facts["version"] = __version__
    return {**record, **provenance_metadata(command, sources, **facts)}


def make_folder(folder: Path, option: str) -> Path:
    """Make a folder and those above it, where they are missing, and return it.

    Args:
        folder: what the user asked for.
        option: by which option, for the message.

    Raises:
        OneBasinError: when it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OneBasinError(
            f"{folder}: cannot be made into a folder ({error.strerror}); choose another {option}"
        ) from error
    return folder


@contextlib.contextmanager
def made_folder(folder: Path, option: str) -> Iterator[Path]:
    """Make a folder as `make_folder` does, and take it away where a block puts nothing into it.

    Args:
        folder: as for `make_folder`.
        option: likewise.

    Raises:
        OneBasinError: when it cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder, option)
    try:
        yield folder
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def save_permutations(alignment: Alignment, path: Path | None) -> list[Path]:
    """Write the permutations where they are asked for, and return the paths of their files."""
    permutations = alignment.from_others
    paths = permutation_files(path, len(permutations) + 1)
    for permutation, file in zip(permutations, paths, strict=bool(paths)):
        permutation.save(file)
    return paths
