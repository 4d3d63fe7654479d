"""Files that a public function writes, checked before any long work, and their contents."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from onebasin import __version__
from onebasin._files import check_no_link
from onebasin.api._heads import head_files
from onebasin.api._job import Job
from onebasin.api._networks import Networks
from onebasin.api._sizes import SizedNetwork
from onebasin.api.results import ComputedNetwork
from onebasin.checkpoints import (
    Checkpoint,
    check_file_writable,
    check_writable,
    open_checkpoint_for,
    with_unsaved,
    write_checkpoint,
)
from onebasin.checkpoints._companions import companion_files
from onebasin.checkpoints._metadata import provenance_metadata
from onebasin.checkpoints.save import check_replaceable, output_form
from onebasin.errors import OneBasinError
from onebasin.symmetry.transformation import Transformation


def check_outputs(
    job: Job, output: Any, permutation_file: Any, *, like: int, num_heads: int = 0
) -> None:
    """Check that the outputs of a function can be written.

    Args:
        job: the networks.
        output: path of the resulting network, or None.
        permutation_file: path of the permutation, or None.
        like: index of the network whose configuration files are copied to an output folder.
        num_heads: number of last layers, each with an output file; 0 if they are shared.

    Raises:
        OneBasinError: a path cannot be written, is an input, or is given twice; or a file to copy
            is outside of the folder of the checkpoint.
    """
    inputs = job.input_files
    outputs = [] if output is None else [output, *head_files(output, num_heads)]
    for path in outputs:
        check_writable(path, inputs=inputs)
    if output is not None:
        source = job.sources[like].path
        if output_form(output) == "folder" and source is not None and source.is_dir():
            companion_files(source)
    for path in permutation_files(permutation_file, len(job.sources)):
        check_file_writable(path, inputs=inputs)
        if path.suffix != ".safetensors":
            raise OneBasinError(
                f"{path}: a permutation is written as .safetensors; choose such a name"
            )
        check_replaceable(path)
        if path.resolve() in {Path(each).resolve() for each in outputs}:
            raise OneBasinError(
                f"{path}: cannot hold both the network and the permutation; give two paths"
            )


def permutation_files(path: Any, num_networks: int) -> list[Path]:
    """Return the files of the permutations of all networks but the first.

    Args:
        path: the path that the user gave, or None.
        num_networks: number of networks, the reference included. For more than two, each file
            has the number of its network in its name, counted from 1.

    Example:
        >>> [path.name for path in permutation_files("p.safetensors", 3)]
        ['p-2.safetensors', 'p-3.safetensors']
    """
    if path is None:
        return []
    path = Path(path)
    if num_networks == 2:
        return [path]
    return [
        path.with_name(f"{path.stem}-{number}{path.suffix}")
        for number in range(2, num_networks + 1)
    ]


def save_permutations(transformations: Sequence[Transformation], path: Any) -> tuple[Path, ...]:
    """Write the transformations of all networks but the first, and return their files.

    Those that only permute units are written as permutations.
    """
    paths = permutation_files(path, len(transformations) + 1)
    for each, file in zip(transformations, paths, strict=bool(paths)):
        (each.permutation if each.only_permutes else each).save(file)
    return tuple(paths)


def metadata_of(networks: Networks, command: str, **facts: Any) -> dict[str, str]:
    """Return the metadata of a network that is computed from others.

    Args:
        networks: the networks and the record of their architecture.
        command: name of the public function.
        **facts: further plain JSON values, such as the method; None is omitted.
    """
    sources = [checkpoint.path for checkpoint in networks.checkpoints]
    facts["version"] = __version__
    return {**networks.metadata, **provenance_metadata(command, sources, **facts)}


def write_network(
    job: Job,
    path: Any,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    like: Checkpoint,
    configuration: Mapping[str, int] | None = None,
) -> None:
    """Write a network under the names and with the dtypes of one of the given networks.

    Args:
        job: the given networks, which are not replaced.
        path: the output.
        tensors: the network; a lazy mapping is written tensor by tensor.
        metadata: metadata of safetensors files.
        like: the network whose names and dtypes are used, open.
        configuration: entries of config.json to replace in an output folder.
    """
    inputs = [source.path for source in job.sources if source.path is not None]
    with job.reporter.progress(f"writing {path}"):
        stored = with_unsaved(tensors, like)
        write_checkpoint(
            path, stored, like=like, inputs=inputs, metadata=metadata, configuration=configuration
        )


def check_files_in(folder: Path, names: Iterable[str], inputs: Sequence[Path] = ()) -> None:
    """Check that files can be written to a folder.

    Args:
        folder: the output folder.
        names: names of the files.
        inputs: files that must not be replaced.

    Raises:
        OneBasinError: one of them is a link, a folder or an input.
    """
    for name in names:
        check_no_link(folder / name)
        if os.path.lexists(folder / name):
            check_file_writable(folder / name, inputs=inputs)


def make_folder(folder: Path, option: str) -> Path:
    """Create a folder and its parents, and return it.

    Args:
        folder: the path.
        option: the argument that names it, for messages.

    Raises:
        OneBasinError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OneBasinError(
            f"{folder}: the folder cannot be created ({error.strerror}); choose another {option}"
        ) from error
    return folder


@contextlib.contextmanager
def output_folder(folder: Path, option: str) -> Iterator[Path]:
    """Create a folder, and remove it if a block raises an error and leaves it empty.

    Args:
        folder: the path.
        option: the argument that names it, for messages.

    Raises:
        OneBasinError: it cannot be created.
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


def finished(
    job: Job,
    networks: Networks,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    output: Any,
    *,
    like: int,
    sized: SizedNetwork | None = None,
) -> ComputedNetwork:
    """Return a network that is written to a file or read into memory.

    Args:
        job: the input networks.
        networks: the open networks.
        tensors: the network, possibly lazy.
        metadata: metadata of safetensors files.
        output: the output, or None to keep the network in memory.
        like: index of the network whose names and dtypes are used.
        sized: the network if it is larger than the input networks, or None.
    """
    architecture = networks.architecture
    fitting, configuration = architecture, dict[str, int]()
    if sized is not None:
        fitting = replace(architecture, module=sized.enlarged.module)
        configuration = dict(sized.arguments or {})

    if output is None:
        state_dict = {name: tensors[name] for name in tensors}
    else:
        state_dict = None
        like_network = networks.checkpoints[like]
        write_network(
            job, output, tensors, metadata, like=like_network, configuration=configuration
        )

    def load() -> Mapping[str, Tensor]:
        if state_dict is not None:
            return state_dict
        return open_checkpoint_for(fitting, Path(str(output)))

    def write(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
        with job.sources[like].open(architecture) as reference:
            write_network(job, path, tensors, metadata, like=reference, configuration=configuration)

    return ComputedNetwork(load, None if output is None else Path(output), write)
