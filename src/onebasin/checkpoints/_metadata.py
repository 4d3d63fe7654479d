"""Metadata of checkpoint files: the architecture record and the provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from onebasin._files import check_regular_file
from onebasin.checkpoints.checkpoint import INDEX_SUFFIX
from onebasin.errors import OneBasinError

RECORD_KEY = "onebasin.architecture"
LONGEST = 100_000
LIBRARIES = ("torchvision", "timm")
"""Prefixes of architectures that a record may name, as they run only code of the library."""
SOURCES = (*LIBRARIES, "hf")
"""Known prefixes of architectures; any other prefix is a module of the user."""


@dataclass(frozen=True)
class ArchitectureRecord:
    """The architecture, the arguments and the training data of a network.

    Args:
        spec: the name of the architecture for `build_architecture`.
        arguments: its arguments, plain JSON values.
        inputs: the shapes of its inputs, in the form of `example_inputs=`; empty for defaults.
        data: the name of the training data, or None.
        normalization: the normalization of its inputs in words, or None if unknown.
        path: the file that holds the record, for messages.
    """

    spec: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[str] = ()
    data: str | None = None
    normalization: str | None = None
    path: Path | None = field(default=None, compare=False)

    @property
    def runs_code(self) -> bool:
        """Whether a build imports a module of the user; a file must not cause that."""
        prefix, colon, _ = self.spec.partition(":")
        return bool(colon) and prefix not in SOURCES

    def to_metadata(self) -> dict[str, str]:
        """Return the record as metadata of a safetensors file.

        Example:
            >>> ArchitectureRecord("mlp", {"width": 8}).to_metadata()
            {'onebasin.architecture': '{"spec": "mlp", "arguments": {"width": 8}}'}
        """
        content = {name: value for name, value in vars(self).items() if value and name != "path"}
        return {RECORD_KEY: json.dumps(content, default=_plain)}

    def __str__(self) -> str:
        """Return the architecture with its arguments, such as `mlp(width=8)`."""
        given = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.spec}({given})" if given else self.spec


def read_record(path: str | os.PathLike[str]) -> ArchitectureRecord | None:
    """Return the architecture that a checkpoint records.

    Args:
        path: a `.safetensors` file, or a folder with `model.safetensors`.

    Returns:
        The record, or None if the file has none or cannot be read. `open_checkpoint`
        reports unreadable files.

    Raises:
        OneBasinError: the record is malformed.
    """
    file = Path(path)
    file = file / "model.safetensors" if file.is_dir() else file
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(RECORD_KEY)
    except (SafetensorError, OSError):
        return None
    return None if text is None else _parsed(file, text)


def shared_record(paths: Sequence[str | os.PathLike[str]]) -> ArchitectureRecord | None:
    """Return the architecture that checkpoints record, or None without any record.

    Args:
        paths: checkpoints of one architecture; some may have no record.

    Raises:
        OneBasinError: a record is malformed, or two of them contradict each other.
    """
    records = [(path, record) for path in paths if (record := read_record(path)) is not None]
    if not records:
        return None
    first, shared = records[0]
    for path, record in records[1:]:
        common = shared.arguments.keys() & record.arguments.keys()
        agree = all(_same(shared.arguments[key], record.arguments[key]) for key in common)
        if shared.spec != record.spec or not agree:
            raise OneBasinError(
                f"{path}: was trained as '{record}', but {first} as '{shared}'; give checkpoints "
                "of one architecture"
            )
    return shared


def merged_arguments(
    record: ArchitectureRecord, spec: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a record together with those of the user.

    Args:
        record: record of the checkpoint.
        spec: the architecture that the user named.
        arguments: arguments of the user.

    Raises:
        OneBasinError: the two contradict each other.

    Example:
        >>> merged_arguments(ArchitectureRecord("mlp", {"width": 64}), "mlp", {"depth": 2})
        {'width': 64, 'depth': 2}
    """
    if spec != record.spec:
        # The user may have renamed a module or moved a folder.
        kinds = [name.partition(":")[0] for name in (spec, record.spec)]
        if (record.runs_code and ":" in spec) or kinds == ["hf", "hf"]:
            return dict(arguments)
        raise OneBasinError(
            f"{record.path}: was trained as '{record}', but model= is {spec!r}; pass the "
            "recorded architecture"
        )
    recorded = record.arguments
    for key, value in arguments.items():
        if key in recorded and not _same(recorded[key], value):
            raise OneBasinError(
                f"{record.path}: was trained with {key}={recorded[key]!r}, but arch_args= has "
                f"{key}={value!r}; remove it from arch_args="
            )
    return {**recorded, **arguments}


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal in JSON, where tuples are lists."""
    texts = (json.dumps(value, default=_plain, sort_keys=True) for value in (one, other))
    return len(set(texts)) == 1


def _plain(value: Any) -> Any:
    return sorted(value, key=repr) if isinstance(value, set | frozenset) else str(value)


def _parsed(path: Path, text: str) -> ArchitectureRecord:
    try:
        if len(text) > LONGEST:
            raise ValueError(f"{len(text)} characters")
        content = json.loads(text)
        arguments = content.get("arguments", {})
        if not isinstance(arguments, dict) or not all(map(str.isidentifier, arguments)):
            raise TypeError("the arguments have no valid names")
        return ArchitectureRecord(
            spec=_text(content["spec"]),
            arguments=arguments,
            inputs=tuple(map(_text, content.get("inputs", ()))),
            data=None if content.get("data") is None else _text(content["data"]),
            normalization=None
            if content.get("normalization") is None
            else _text(content["normalization"]),
            path=path,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OneBasinError(
            f"{path}: the metadata {RECORD_KEY!r} is not a valid architecture record; pass the "
            "architecture as model=, or train again"
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value


PROVENANCE_KEY = "onebasin.provenance"


def provenance_metadata(
    command: str, sources: Sequence[str | os.PathLike[str]], *, version: str, **facts: Any
) -> dict[str, str]:
    """Return the provenance of a network as metadata of a safetensors file.

    Args:
        command: name of the command, such as `merge`.
        sources: the checkpoints, the reference first; their names are kept, not their folders.
        version: the version of onebasin.
        **facts: further plain JSON values, such as the method; None is omitted.

    Example:
        >>> metadata = provenance_metadata("merge", ["runs/a.pt", "b.pt"], version="1.0")
        >>> json.loads(metadata[PROVENANCE_KEY])["sources"]
        ['a.pt', 'b.pt']
    """
    given = {name: value for name, value in facts.items() if value is not None}
    names = [Path(source).name for source in sources]
    content = {"command": command, "sources": names, **given, "version": version}
    return {PROVENANCE_KEY: json.dumps(content)}


def read_provenance(path: str | os.PathLike[str]) -> Mapping[str, Any] | None:
    """Return the provenance of a checkpoint, or None if its files have none.

    Args:
        path: a `.safetensors` file, an index, or a folder.

    Raises:
        OneBasinError: the file cannot be read, or its provenance is malformed.
    """
    file = _first_file(Path(path))
    if file is None or file.suffix != ".safetensors":
        return None
    check_regular_file(file)
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(PROVENANCE_KEY)
        content = None if text is None else json.loads(text)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise OneBasinError(
            f"{path}: the provenance cannot be read ({error}); copy or download the file again"
        ) from error
    if content is not None and not isinstance(content, dict):
        raise OneBasinError(
            f"{path}: the metadata {PROVENANCE_KEY!r} is not a JSON object; write the file again"
        )
    return content


def _first_file(path: Path) -> Path | None:
    """Return the file, or the first safetensors file of a folder: all have equal metadata."""
    folder = path.parent if path.name.endswith(INDEX_SUFFIX) else path
    if not folder.is_dir():
        return path
    return min(folder.glob("*.safetensors"), default=None)
