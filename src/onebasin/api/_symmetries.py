"""The symmetry of a job: inferred, read or passed, then verified."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from onebasin._checks import described
from onebasin._files import read_json
from onebasin._text import some_names
from onebasin.api._reporter import Reporter
from onebasin.checkpoints import Architecture
from onebasin.data.data import Data
from onebasin.errors import ArgumentError, OneBasinError, check_choice
from onebasin.graph.batches import arguments_of, device_of, dtype_of
from onebasin.symmetry import Symmetry, Verification, infer_symmetry, verify
from onebasin.symmetry.actions import Classes
from onebasin.symmetry.symmetry import without_actions

NUM_EXAMPLES = 4
"""Number of examples of the data on which a symmetry is verified."""


@dataclass(frozen=True)
class SymmetryOptions:
    """Source of the symmetry, and whether it is verified.

    Args:
        symmetry: a symmetry, its verification, or a JSON file; None to infer it.
        verify: whether to verify it on the model.
        seed: random seed of the verification.
        classes: "permutation" to exclude maps that scale or mix units.
    """

    symmetry: Symmetry | Verification | Path | None = None
    verify: bool = True
    seed: int = 0
    classes: Classes = "all"

    @classmethod
    def of(
        cls, symmetry: Any, verify: bool, seed: int, classes: Classes = "all"
    ) -> SymmetryOptions:
        """Return the options of a public function.

        Raises:
            OneBasinError: `symmetry` has another form, or `classes` is unknown.
        """
        check_choice("classes", classes, Classes)
        if isinstance(symmetry, str | os.PathLike):
            symmetry = Path(symmetry)
        if symmetry is not None and not isinstance(symmetry, Symmetry | Verification | Path):
            raise ArgumentError(
                f"symmetry is {described(symmetry)}; pass a Symmetry, its verification, "
                "or the path of a JSON file"
            )
        return cls(symmetry, verify, seed, classes)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of the symmetry, if it is read."""
        return (self.symmetry,) if isinstance(self.symmetry, Path) else ()

    def get(self, architecture: Architecture, reporter: Reporter) -> Symmetry:
        """Return the symmetry, before verification."""
        if self.symmetry is None:
            args = architecture.module, architecture.example_args, architecture.example_kwargs
            with reporter.progress(f"tracing {architecture.name}"):
                return infer_symmetry(*args, classes=self.classes)
        symmetry = self._given(self.symmetry, architecture)
        return symmetry if self.classes == "all" else without_actions(symmetry)

    @staticmethod
    def _given(given: Symmetry | Verification | Path, architecture: Architecture) -> Symmetry:
        """Return a symmetry that was passed or read."""
        if isinstance(given, Path):
            return read_symmetry(given, architecture)
        symmetry = given.symmetry if isinstance(given, Verification) else given
        _check_fits(symmetry, architecture, "symmetry")
        return symmetry


@dataclass(frozen=True)
class VerifiedSymmetry:
    """A symmetry without the groups that failed verification.

    Args:
        symmetry: the remaining groups.
        verification: the outcome, or None if it was not verified.
    """

    symmetry: Symmetry
    verification: Verification | None = None

    @property
    def status(self) -> str:
        """The outcome of the verification, such as `verified, max error 3e-15`."""
        if self.verification is None:
            return "not verified"
        num_open = len(self.verification.unverified)
        num_verified = len(self.symmetry.groups) - num_open
        if not num_verified and num_open:
            return "unverified"
        precision = self.verification.precision
        precision_note = "" if precision == "float64" else f" in {precision}"
        error = f"max error {self.verification.max_error:.0e}"
        if not num_open:
            return f"verified{precision_note}, {error}"
        return f"{num_verified} verified{precision_note}, {error}; {num_open} unverified"

    def to_json(self) -> dict[str, Any]:
        """Return a summary as plain JSON values."""
        return symmetry_summary(self.symmetry) | {"proof": verification_summary(self.verification)}


def verified_symmetry(
    architecture: Architecture,
    options: SymmetryOptions,
    reporter: Reporter,
    *,
    states: Sequence[Mapping[str, Tensor]] = (),
    data: Data | None = None,
) -> VerifiedSymmetry:
    """Infer or read the symmetry of an architecture and verify it.

    Notes have the names of failed groups, which are dropped, and of unverified ones.

    Args:
        architecture: the built architecture.
        options: source of the symmetry, and whether it is verified.
        reporter: shows progress and notes.
        states: checkpoints of the architecture; the symmetry must hold with their buffers.
        data: examples that the architecture takes; the symmetry must also hold on them.

    Raises:
        OneBasinError: the model cannot be traced or run, or the symmetry does not fit it.
    """
    symmetry = options.get(architecture, reporter)
    note_unused(symmetry, reporter)
    if not options.verify or not symmetry.groups:
        given = options.symmetry
        return VerifiedSymmetry(symmetry, given if isinstance(given, Verification) else None)
    with reporter.progress(f"verifying the symmetry of {architecture.name}"):
        proof = _verification(symmetry, architecture, options.seed, states, data)
    for name, reason in proof.failed_groups.items():
        reporter.note(f"group {name!r} failed verification ({reason}) and will not be permuted")
    for name, reason in proof.failed_classes.items():
        reporter.note(f"the class of group {name!r} failed verification ({reason}); it is permuted")
    if proof.unverified:
        units = "group" if len(proof.unverified) == 1 else "groups"
        reporter.note(
            f"{units} {some_names(proof.unverified)} could not be verified: the outputs do not "
            "visibly depend on the order of these units; check that it does not matter"
        )
    return VerifiedSymmetry(proof.symmetry, proof)


def note_unused(symmetry: Symmetry, reporter: Reporter) -> None:
    """Note which parameters are fixed because the example inputs do not use them."""
    unused = [name for name in symmetry.unused if name not in symmetry.buffers]
    if unused and symmetry.groups:
        reporter.note(
            "parameters that the model does not use on the example inputs are not permuted"
            f" ({some_names(unused)}); outputs that use them can change"
        )


def _verification(
    symmetry: Symmetry,
    architecture: Architecture,
    seed: int,
    states: Sequence[Mapping[str, Tensor]] = (),
    data: Data | None = None,
) -> Verification:
    """Verify a symmetry on the module of an architecture.

    Args:
        symmetry: the symmetry.
        architecture: the built architecture.
        seed: random seed of the verification.
        states: checkpoints with whose buffers the symmetry is also verified.
        data: examples on which it is also verified.

    Raises:
        OneBasinError: the module cannot be run, or there is not enough memory.
    """
    try:
        return verify(
            symmetry,
            architecture.module,
            architecture.example_args,
            architecture.example_kwargs,
            seed=seed,
            states=states,
            other_inputs=() if data is None else [_arguments(architecture, data)],
        )
    except MemoryError as error:
        raise OneBasinError(
            f"{architecture.name}: not enough memory to verify the symmetry in float64; pass "
            "verify=False to skip it"
        ) from error


def _arguments(architecture: Architecture, data: Data) -> tuple[tuple[Any, ...], Any]:
    module = architecture.module
    inputs = data.example_inputs(NUM_EXAMPLES)
    args, kwargs = arguments_of(inputs, device_of(module), dtype_of(module))
    return tuple(args), kwargs


def read_symmetry(path: Path, architecture: Architecture) -> Symmetry:
    """Read a symmetry that was saved or written by hand, and check that it fits.

    Raises:
        OneBasinError: the file is missing, is not a symmetry, or does not fit the model.
    """
    data = _read_json(path)
    if "format" in data:
        symmetry = Symmetry.load(path)
        _check_fits(symmetry, architecture, str(path))
        return symmetry
    try:
        return Symmetry.from_spec(data, architecture.module)
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
            f"{path}: expected a file that inspect with save= wrote, or a mapping of each tensor "
            "to a list with a group name or null per dimension, such as "
            '{"layer.weight": ["hidden", null]}'
        )
    return data


def _check_fits(symmetry: Symmetry, architecture: Architecture, place: str) -> None:
    state = architecture.module.state_dict()
    for name in (*symmetry.shapes, *state):
        here = symmetry.shapes.get(name, "missing")
        there = tuple(state[name].shape) if name in state else "missing"
        if here != there:
            raise OneBasinError(
                f"{place}: tensor {name!r} is {here} in the symmetry but {there} in "
                f"{architecture.name}; infer it again, with inspect and save= for a file"
            )


def class_counts(symmetry: Symmetry) -> dict[str, int]:
    """Return the number of groups of each class, the most frequent class first."""
    return dict(Counter(group.symmetry_class for group in symmetry.groups.values()).most_common())


def symmetry_summary(symmetry: Symmetry) -> dict[str, Any]:
    """Return a summary of a symmetry as plain JSON values."""
    return {
        "groups": {
            name: {
                "size": group.size,
                "nested_in": list(group.nested_in),
                "class": group.symmetry_class,
            }
            for name, group in symmetry.groups.items()
        },
        "classes": class_counts(symmetry),
        "log10_order": symmetry.log10_order,
        "permutable_fraction": symmetry.permutable_fraction,
    }


def verification_summary(proof: Verification | None) -> dict[str, Any] | None:
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
        "failed_classes": dict(proof.failed_classes),
        "unverified_classes": list(proof.unverified_classes),
        "possibly_larger_classes": dict(proof.possibly_larger_classes),
        "seconds": proof.seconds,
    }
