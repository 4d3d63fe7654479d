"""The symmetry of an architecture: its groups, fixed dimensions and unsupported operators."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import floor
from typing import Any

from onebasin._text import columns, counted
from onebasin.api._architectures import architecture_of, is_named, is_path, recorded_architecture
from onebasin.api._job import MAX_SEED
from onebasin.api._reporter import Reporter
from onebasin.api._symmetries import (
    SymmetryOptions,
    VerifiedSymmetry,
    class_counts,
    verified_symmetry,
)
from onebasin.api.results import Summarized
from onebasin.checkpoints import check_file_writable
from onebasin.checkpoints._diagnosis import is_json_start
from onebasin.checkpoints.save import check_replaceable
from onebasin.errors import ArgumentError, check_whole, public
from onebasin.symmetry import Fixed, Symmetry, Verification
from onebasin.symmetry.actions import Classes
from onebasin.symmetry.layouts import leaves

SHORT = 12
"""The number of rows of a shortened table."""


@dataclass(frozen=True, repr=False)
class Inspection(Summarized):
    """The symmetry of an architecture; returned by `inspect`.

    Args:
        architecture: name of the architecture.
        shows_all: whether the summary has every group and every fixed dimension.
    """

    architecture: str
    _verified: VerifiedSymmetry
    shows_all: bool = False

    @property
    def symmetry(self) -> Symmetry:
        """The symmetry, without groups that failed verification."""
        return self._verified.symmetry

    @property
    def verification(self) -> Verification | None:
        """The verification of the symmetry, or None if it was skipped."""
        return self._verified.verification

    def summary(self) -> str:
        """Return the text that `onebasin inspect` prints."""
        return inspection_text(self.architecture, self._verified, self.shows_all)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        symmetry = self.symmetry
        return {
            "architecture": self.architecture,
            **self._verified.to_json(),
            "unsupported_ops": [
                {**vars(r), "tensors": list(r.tensors)} for r in symmetry.unsupported_ops
            ],
            "unused": list(symmetry.unused),
            "fixed": [
                {"tensor": tensor, "dimension": dimension, "size": size, "reason": reason}
                for tensor, dimension, size, reason in fixed_dimensions(symmetry)
            ],
        }


@public
def inspect(
    model: Any,
    *,
    example_inputs: Any = None,
    arch_args: Mapping[str, Any] | Iterable[str] | None = None,
    symmetry: Any = None,
    verify: bool = False,
    meta: bool = False,
    save: str | os.PathLike[str] | None = None,
    shows_all: bool = False,
    classes: Classes = "all",
    seed: int = 0,
    progress: bool = False,
) -> Inspection:
    """Infer the symmetry of an architecture: its groups, and why other dimensions are fixed.

    Args:
        model: a module, the name of an architecture (see `align`), or the path of a checkpoint
            that determines its architecture.
        example_inputs: the inputs of one call of the module; see `align`.
        arch_args: arguments of a named architecture.
        symmetry: a `Symmetry` or the path of its JSON file, instead of inference.
        verify: whether to verify the symmetry on the module in float64.
        meta: whether to build a named architecture on the meta device, without memory.
        save: JSON file of the symmetry to write; an existing JSON file is replaced.
        shows_all: whether the summary has every group, the operator that excludes a larger class,
            and every fixed dimension.
        classes: "all", or "permutation" to exclude maps that scale or mix units.
        seed: random seed of weights, example inputs and verification.
        progress: whether to show progress bars.

    Returns:
        The symmetry; `print` shows a summary.

    Raises:
        OneBasinError: an argument is invalid, or the symmetry cannot be inferred.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> mlp = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> inspect(mlp, example_inputs=torch.zeros(2, 3)).symmetry.groups["0"].size
        8
    """
    seed = check_whole("seed", seed, least=0, most=MAX_SEED)
    if meta and verify:
        raise ArgumentError(
            "verify= runs the model, which meta= builds without memory; remove one of them"
        )
    record = None
    if isinstance(model, str) and is_path(model) and not is_named(model):
        record = recorded_architecture(model)
        model = record.spec
    architecture = architecture_of(
        model,
        arch_args=arch_args,
        example_inputs=example_inputs,
        seed=seed,
        record=record,
    )
    options = SymmetryOptions.of(symmetry, verify, seed, classes)
    if save is not None:
        check_file_writable(save, inputs=[*architecture.files, *options.files])
        check_replaceable(save, "a JSON file", is_json_start)
    reporter = Reporter(progress)
    built = architecture.build(reporter, without_memory=meta)
    verified = verified_symmetry(built, options, reporter)
    if save is not None:
        verified.symmetry.save(save)
    return Inspection(built.name, verified, shows_all)


def fixed_dimensions(symmetry: Symmetry) -> Iterator[tuple[str, int, int, str]]:
    """Yield tensor, dimension, size and reason of all fixed parts larger than one."""
    for tensor, layouts in symmetry.layouts.items():
        for dimension, layout in enumerate(layouts):
            for leaf in leaves(layout):
                if isinstance(leaf, Fixed) and leaf.size > 1:
                    yield tensor, dimension, leaf.size, leaf.reason


def inspection_text(name: str, verified: VerifiedSymmetry, shows_all: bool) -> str:
    """Return a symmetry as text.

    Args:
        name: name of the architecture.
        verified: the symmetry and its verification.
        shows_all: every group and every fixed dimension, not only the first ones and the sums.
    """
    symmetry, verification = verified.symmetry, verified.verification
    status = f" ({verified.status})" if verification else ""
    parts = [
        f"{name}: {counted(len(symmetry.groups), 'group')}{status}, "
        f"10^{symmetry.log10_order:.2f} equivalent copies, "
        f"{_percent(symmetry.permutable_fraction)} of the parameters move"
    ]
    if verification is not None:
        parts.append(f"\nverified on inputs {'; '.join(verification.inputs)}")
    if symmetry.groups:
        counts = (f"{count} {name}" for name, count in class_counts(symmetry).items())
        parts.append(f"\nclasses of the groups: {', '.join(counts)}")
    parts += _groups(symmetry, shows_all)
    parts += _fixed(symmetry, shows_all)
    parts += _unsupported(symmetry, shows_all)
    if symmetry.unused:
        parts.append(f"\nunused by the outputs: {', '.join(symmetry.unused)}")
    return "\n".join(parts)


def _percent(fraction: float) -> str:
    """Return a fraction in percent; it is 100% only if nothing is missing."""
    return f"{floor(fraction * 100_000) / 1000:.3f}%"


def _groups(symmetry: Symmetry, shows_all: bool) -> list[str]:
    if not symmetry.groups:
        return []
    rows: list[tuple[str, ...]] = []
    for name, group in symmetry.groups.items():
        outer = "within " + ", ".join(group.nested_in) if group.nested_in else ""
        action = symmetry.actions.get(name)
        limit = f"limited by: {action.reason}" if action and action.reason and shows_all else ""
        rows.append((name, str(group.size), group.symmetry_class, outer, limit))
    return ["\ngroups", *_shortened(rows, shows_all, "groups")]


def _fixed(symmetry: Symmetry, shows_all: bool) -> list[str]:
    fixed = list(fixed_dimensions(symmetry))
    if not fixed:
        return []
    if shows_all:
        rows = [
            (tensor, f"dimension {dimension}", str(size), reason or "no reason given")
            for tensor, dimension, size, reason in fixed
        ]
        return ["\nfixed dimensions", _table(rows)]
    counts = Counter(reason or "no reason given" for *_, reason in fixed)
    rows = [(reason, str(count)) for reason, count in counts.most_common()]
    return ["\nfixed dimensions, by reason", *_shortened(rows, shows_all, "reasons")]


def _unsupported(symmetry: Symmetry, shows_all: bool) -> list[str]:
    if not symmetry.unsupported_ops:
        return []
    rows = [
        (refusal.operator, refusal.location, refusal.reason, ", ".join(refusal.tensors))
        for refusal in symmetry.unsupported_ops
    ]
    return [
        "\nunsupported operators, whose dimensions are fixed",
        *_shortened(rows, shows_all, "operators"),
    ]


def _shortened(rows: list[tuple[str, ...]], shows_all: bool, noun: str) -> list[str]:
    visible = rows if shows_all or len(rows) <= SHORT + 1 else rows[:SHORT]
    hidden = len(rows) - len(visible)
    return [
        _table(visible),
        *([f"  ... {hidden} more {noun}; shows_all=True shows them"] if hidden else []),
    ]


def _table(rows: list[tuple[str, ...]]) -> str:
    indented = [("", *row) for row in rows]
    return columns(indented, numbers_from=len(indented[0]))
