"""Symmetries: inferred or read, then verified, as the user chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from onebasin._files import read_json
from onebasin.checkpoints import Architecture
from onebasin.checkpoints.messages import some_names
from onebasin.cli.console import Console
from onebasin.errors import OneBasinError
from onebasin.forward.batches import arguments_of, device_of, dtype_of
from onebasin.symmetry import Symmetry, trace
from onebasin.symmetry.handwritten import symmetry_from_spec
from onebasin.symmetry.proving.proof import Proof
from onebasin.training.datasets.data import Data

NUM_EXAMPLES = 4
"""Examples of the data on which a symmetry is verified."""


@dataclass(frozen=True)
class SymmetryChoice:
    """Where the symmetry comes from.

    Args:
        file: a JSON file; without one the architecture is traced.
        proves: whether to verify it on the model.
        seed: random seed of the verification.
    """

    file: Path | None = None
    proves: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """A symmetry to rely on.

    Args:
        symmetry: without groups that failed.
        proof: the outcome of the verification, or None.
    """

    symmetry: Symmetry
    proof: Proof | None = None

    @property
    def verification(self) -> str:
        """How far the groups are verified, such as `verified, max error 3e-15`."""
        if self.proof is None:
            return "not verified"
        num_open = len(self.proof.unverified)
        num_verified = len(self.symmetry.groups) - num_open
        if not num_verified and num_open:
            return "unverified"
        precision = self.proof.precision
        within = "" if precision == "float64" else f" in {precision}"
        error = f"max error {self.proof.max_error:.0e}"
        if not num_open:
            return f"verified{within}, {error}"
        return f"{num_verified} verified{within}, {error}; {num_open} unverified"

    def to_json(self) -> dict[str, Any]:
        """Return a summary as plain JSON values."""
        return symmetry_summary(self.symmetry) | {"proof": proof_summary(self.proof)}


def find_symmetry(
    architecture: Architecture,
    choice: SymmetryChoice,
    console: Console,
    *,
    states: Sequence[Mapping[str, Tensor]] = (),
    data: Data | None = None,
) -> Found:
    """Infer or read the symmetry of an architecture and verify it.

    Notes name the groups that fail, which are dropped, and those that stay unverified.

    Args:
        architecture: with its module and example inputs.
        choice: where the symmetry comes from, and whether to verify it.
        console: where progress and notes are shown.
        states: checkpoints of the architecture; the symmetry must hold with their buffers.
        data: examples that the architecture takes, on which the symmetry must hold, too.

    Raises:
        OneBasinError: when the model cannot be traced or run, or the file is no symmetry of it.
    """
    if choice.file is not None:
        symmetry = read_symmetry(choice.file, architecture)
    else:
        args = architecture.module, architecture.example_args, architecture.example_kwargs
        with console.progress(f"tracing {architecture.name}"):
            symmetry = trace(*args)
    note_unused(symmetry, console)
    if not choice.proves or not symmetry.groups:
        return Found(symmetry)
    with console.progress(f"verifying the symmetry of {architecture.name}"):
        proof = verify(symmetry, architecture, choice.seed, states, data)
    for name, reason in proof.failed_groups.items():
        console.note(f"group {name!r} failed verification ({reason}) and will not be permuted")
    if proof.unverified:
        units = "group" if len(proof.unverified) == 1 else "groups"
        console.note(
            f"{units} {some_names(proof.unverified)} could not be verified: the outputs do not "
            "visibly depend on the order of these units; check that it does not matter"
        )
    return Found(proof.symmetry, proof)


def note_unused(symmetry: Symmetry, console: Console) -> None:
    """Say which parameters could not be moved, because the example inputs do not use them."""
    unused = [name for name in symmetry.unused if name not in symmetry.buffers]
    if unused and symmetry.groups:
        console.note(
            "parameters that the model does not use on the example inputs are not permuted"
            f" ({some_names(unused)}); outputs that use them can change"
        )


def verify(
    symmetry: Symmetry,
    architecture: Architecture,
    seed: int,
    states: Sequence[Mapping[str, Tensor]] = (),
    data: Data | None = None,
) -> Proof:
    """Test a symmetry on the architecture's module.

    Args:
        symmetry: the claim.
        architecture: with its module and example inputs.
        seed: random seed of the verification.
        states: checkpoints whose buffers are tried, too.
        data: examples that are tried, too.

    Raises:
        OneBasinError: when the module cannot be run, memory included.
    """
    try:
        return symmetry.prove(
            architecture.module,
            architecture.example_args,
            architecture.example_kwargs,
            seed=seed,
            states=states,
            other_inputs=() if data is None else [_arguments(architecture, data)],
        )
    except MemoryError as error:
        raise OneBasinError(
            f"{architecture.name}: not enough memory to verify the symmetry in float64; "
            "pass --no-prove to skip it"
        ) from error


def _arguments(architecture: Architecture, data: Data) -> tuple[tuple[Any, ...], Any]:
    module = architecture.module
    inputs = data.example_inputs(NUM_EXAMPLES)
    args, kwargs = arguments_of(inputs, device_of(module), dtype_of(module))
    return tuple(args), kwargs


def read_symmetry(path: Path, architecture: Architecture) -> Symmetry:
    """Read a symmetry that was saved or written by hand, and check that it fits.

    Raises:
        OneBasinError: when the file is missing, is no symmetry, or is that of another model.
    """
    data = _read_json(path)
    if "format" in data:
        symmetry = Symmetry.load(path)
        _check_fits(symmetry, architecture, path)
        return symmetry
    try:
        return symmetry_from_spec(data, architecture.module)
    except OneBasinError as error:
        raise OneBasinError(f"{path}: {error}") from error


def _read_json(path: Path) -> Mapping[str, Any]:
    data = read_json(path)
    is_spec = isinstance(data, dict) and (
        "format" in data
        or all(
            isinstance(names, list) and all(n is None or isinstance(n, str) for n in names)
            for names in data.values()
        )
    )
    if not is_spec:
        raise OneBasinError(
            f"{path}: expected what inspect --save writes, or a mapping of each tensor to a list "
            'with a group name or null per dimension, such as {"layer.weight": ["hidden", null]}'
        )
    return data


def _check_fits(symmetry: Symmetry, architecture: Architecture, path: Path) -> None:
    state = architecture.module.state_dict()
    for name in (*symmetry.shapes, *state):
        here = symmetry.shapes.get(name, "missing")
        there = tuple(state[name].shape) if name in state else "missing"
        if here != there:
            raise OneBasinError(
                f"{path}: tensor {name!r} is {here} in the symmetry but {there} in "
                f"{architecture.name}; save it again with inspect --save"
            )


def symmetry_summary(symmetry: Symmetry) -> dict[str, Any]:
    """Return what a symmetry says about itself as plain JSON values."""
    return {
        "groups": {
            name: {"size": group.size, "within": list(group.within)}
            for name, group in symmetry.groups.items()
        },
        "log10_order": symmetry.log10_order,
        "moved_fraction": symmetry.moved_fraction,
    }


def proof_summary(proof: Proof | None) -> dict[str, Any] | None:
    """Return the outcome of a verification as plain JSON values."""
    if proof is None:
        return None
    return {
        "max_error": proof.max_error,
        "precision": proof.precision,
        "inputs": list(proof.inputs),
        "verified": [n for n in proof.symmetry.groups if n not in proof.unverified],
        "failed_groups": dict(proof.failed_groups),
        "unverified": list(proof.unverified),
        "seconds": proof.seconds,
    }
