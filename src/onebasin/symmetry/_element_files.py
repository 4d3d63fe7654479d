"""Safetensors files of permutations and transformations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from os import PathLike

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from onebasin._files import atomic_path, check_regular_file
from onebasin.errors import OneBasinError
from onebasin.symmetry.symmetry import Symmetry

TRANSFORMATION = "onebasin-transformation-1"
PERMUTATION = "onebasin-permutation-1"
KINDS = ("permutation", "maps", "scales", "signs")

Parts = dict[str, dict[str, Tensor]]


def write_tensors(
    path: str | PathLike[str], tensors: Mapping[str, Tensor], kind: str, value: str
) -> None:
    """Write tensors and one entry of metadata to a safetensors file.

    Args:
        path: the file.
        tensors: the tensors by name.
        kind: format of the file.
        value: text that identifies the symmetry.

    Raises:
        OneBasinError: the file cannot be written; no partial file remains.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        # `safetensors.save_file` would make the file readable by its owner only. A single
        # entry: safetensors writes several entries in no fixed order.
        temporary.write_bytes(save(contiguous, metadata={kind: value}))


def read_tensors(path: str | PathLike[str], kind: str, noun: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a file, and its entry of metadata.

    Args:
        path: the file.
        kind: format of the file.
        noun: class of the object, for messages.

    Raises:
        OneBasinError: the file is missing, damaged, or of another format.
    """
    check_regular_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise OneBasinError(f"{path}: not a readable safetensors file ({error})") from error
    if kind not in metadata:
        raise OneBasinError(
            f"{path}: not a {noun.lower()} file; write it with {noun}.save{_hint(metadata)}"
        )
    return tensors, metadata[kind]


def is_permutation_file(path: str | PathLike[str]) -> bool:
    """Return whether a file contains a permutation; False if it cannot be read."""
    check_regular_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return PERMUTATION in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _hint(metadata: Mapping[str, str]) -> str:
    """Return the function that reads the other kind of file."""
    if TRANSFORMATION in metadata:
        return ", or read this file with Transformation.load"
    return ", or read this file with Permutation.load" if PERMUTATION in metadata else ""


def write_transformation(path: str | PathLike[str], symmetry: Symmetry, parts: Parts) -> None:
    """Write the parts of a transformation; see `write_tensors`.

    Args:
        path: the file.
        symmetry: the symmetry.
        parts: the tensors of each kind, by group.
    """
    tensors = {
        f"{kind}/{group}": tensor for kind, own in parts.items() for group, tensor in own.items()
    }
    write_tensors(path, tensors, TRANSFORMATION, _identity_of(symmetry, _acting(parts)))


def read_transformation(path: str | PathLike[str], symmetry: Symmetry) -> Parts:
    """Return the parts of a transformation from a file; see `write_transformation`.

    Raises:
        OneBasinError: the file is missing or damaged, or belongs to another symmetry.
    """
    tensors, identity = read_tensors(path, TRANSFORMATION, "Transformation")
    parts: Parts = {kind: {} for kind in KINDS}
    for name, tensor in tensors.items():
        kind, _, group = name.partition("/")
        if kind not in parts:
            raise OneBasinError(f"{path}: unknown tensor {name!r}; write the file again")
        parts[kind][group] = _checked(path, kind, group, tensor)
    if identity.split()[:1] != [symmetry.fingerprint]:
        raise OneBasinError(
            f"{path}: belongs to another symmetry; load it with the symmetry that it was saved for"
        )
    if identity != _identity_of(symmetry, _acting(parts)):
        raise OneBasinError(
            f"{path}: the classes of its groups differ from those of the symmetry; load it with"
            " the symmetry that it was saved for"
        )
    return parts


def _checked(path: str | PathLike[str], kind: str, group: str, tensor: Tensor) -> Tensor:
    """Check the values of one part; the object checks names, shapes and indices."""
    if kind == "permutation":
        return tensor
    is_valid = tensor.dtype == torch.float64 and bool(tensor.isfinite().all())
    if is_valid and kind == "scales":
        is_valid = bool((tensor != 0).all())
    if is_valid and kind == "signs":
        is_valid = bool((tensor.abs() == 1).all())
    if not is_valid:
        raise OneBasinError(f"{path}: invalid {kind} of group {group!r}; write the file again")
    return tensor


def _acting(parts: Parts) -> list[str]:
    """Return the groups with more than a permutation."""
    return sorted({group for kind in KINDS[1:] for group in parts[kind]})


def _identity_of(symmetry: Symmetry, groups: Collection[str]) -> str:
    """Return the fingerprint of a symmetry and a digest of the actions of some groups."""
    actions = {
        name: symmetry.actions[name].to_json() for name in groups if name in symmetry.actions
    }
    for action in actions.values():
        action.pop("reason")
    text = json.dumps(actions, sort_keys=True, separators=(",", ":"))
    return f"{symmetry.fingerprint} {hashlib.sha256(text.encode()).hexdigest()}"
