"""`onebasin inspect`: what may move in an architecture, what may not, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onebasin.cli.blocks import RunOptions, with_blocks
from onebasin.cli.console import columns
from onebasin.cli.options import Arch, ArchArgs, Inputs, SymmetryFile
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from onebasin.checkpoints import Architecture
    from onebasin.cli.console import Console
    from onebasin.cli.pairs import ArchitectureChoice
    from onebasin.cli.symmetries import Found, SymmetryChoice
    from onebasin.symmetry import Symmetry

SHORT = 12


@with_blocks
def inspect(
    *,
    arch: Arch,
    arch_arg: ArchArgs = None,
    input_: Inputs = None,
    symmetry: SymmetryFile = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Also verify the symmetry on the model in float64.")
    ] = False,
    meta: Annotated[
        bool,
        typer.Option("--meta", help="Build the model on the meta device, without memory."),
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="FILE", help="Write the symmetry to a JSON file."),
    ] = None,
    shows_all: Annotated[
        bool, typer.Option("--all", help="Print every group and every fixed dimension.")
    ] = False,
    options: RunOptions,
) -> None:
    """Show the symmetry of an architecture.

    Prints the permutation groups, the fixed dimensions, and the reason for each fixed dimension.

    \b
    Examples:
      onebasin inspect torchvision:resnet18
      onebasin inspect timm:vit_tiny_patch16_224 --all
      onebasin inspect model-folder/
      onebasin inspect mypackage.models:build --input 2x3x32x32 --save symmetry.json
    """
    from onebasin.cli.pairs import ArchitectureChoice
    from onebasin.cli.positionals import inspected_architecture
    from onebasin.cli.symmetries import SymmetryChoice

    with options.open_console() as console:
        run_inspect(
            ArchitectureChoice.of(inspected_architecture(arch), arch_arg, input_, options.seed),
            symmetry=SymmetryChoice(symmetry, prove, options.seed),
            shows_all=shows_all,
            is_meta=meta,
            save=save,
            console=console,
        )


def run_inspect(
    choice: ArchitectureChoice,
    *,
    symmetry: SymmetryChoice,
    shows_all: bool,
    is_meta: bool,
    save: Path | None,
    console: Console,
) -> None:
    """Trace an architecture and print its symmetry.

    Args:
        choice: of the architecture.
        symmetry: where the symmetry comes from, and whether it is verified.
        shows_all: print every group and every fixed dimension.
        is_meta: build the module without memory.
        save: where the symmetry goes, or None.
        console: where the result is printed.
    """
    from onebasin.checkpoints import check_file_writable
    from onebasin.cli.symmetries import find_symmetry

    if is_meta and symmetry.proves:
        raise OneBasinError(
            "inspect: --prove runs the model, which --meta builds without memory; "
            "remove one of them"
        )
    if save is not None:
        inputs = [*choice.files, *([symmetry.file] if symmetry.file is not None else [])]
        check_file_writable(save, inputs=inputs)
    architecture = choice.build(console, without_memory=is_meta)
    found = find_symmetry(architecture, symmetry, console)
    if save is not None:
        found.symmetry.save(save)
    text = inspection_text(architecture, found, shows_all)
    console.result(_data(architecture, found), f"{text}\nwrote {save}" if save else text)


def fixed_dimensions(symmetry: Symmetry) -> Iterator[tuple[str, int, int, str]]:
    """Yield tensor, dimension, size and reason of all that is fixed and larger than one."""
    from onebasin.symmetry import Fixed
    from onebasin.symmetry.layouts import leaves

    for tensor, layouts in symmetry.layouts.items():
        for dimension, layout in enumerate(layouts):
            for leaf in leaves(layout):
                if isinstance(leaf, Fixed) and leaf.size > 1:
                    yield tensor, dimension, leaf.size, leaf.reason


def _data(architecture: Architecture, found: Found) -> dict[str, Any]:
    symmetry = found.symmetry
    return {
        "command": "inspect",
        "architecture": architecture.name,
        **found.to_json(),
        "refusals": [{**vars(r), "tensors": list(r.tensors)} for r in symmetry.refusals],
        "unused": list(symmetry.unused),
        "fixed": [
            {"tensor": tensor, "dimension": dimension, "size": size, "reason": reason}
            for tensor, dimension, size, reason in fixed_dimensions(symmetry)
        ],
    }


def inspection_text(architecture: Architecture, found: Found, shows_all: bool) -> str:
    """Return what a symmetry says about itself, for people.

    Args:
        architecture: whose symmetry it is.
        found: the symmetry and its verification.
        shows_all: every group and every fixed dimension, not only the first and the sums.
    """
    from onebasin.checkpoints.messages import counted

    symmetry = found.symmetry
    verification = f" ({found.verification})" if found.proof else ""
    parts = [
        f"{architecture.name}: {counted(len(symmetry.groups), 'group')}{verification}, "
        f"10^{symmetry.log10_order:.2f} equivalent copies, "
        f"{_percent(symmetry.moved_fraction)} of the parameters move"
    ]
    if found.proof is not None:
        parts.append(f"\nverified on inputs {'; '.join(found.proof.inputs)}")
    parts += _groups(symmetry, shows_all)
    parts += _fixed(symmetry, shows_all)
    parts += _refusals(symmetry, shows_all)
    if symmetry.unused:
        parts.append(f"\nunused by the outputs: {', '.join(symmetry.unused)}")
    return "\n".join(parts)


def _percent(fraction: float) -> str:
    """Write a share that is 100% only where nothing is missing."""
    return f"{floor(fraction * 100_000) / 1000:.3f}%"


def _groups(symmetry: Symmetry, shows_all: bool) -> list[str]:
    if not symmetry.groups:
        return []
    rows = [
        (name, str(group.size), "within " + ", ".join(group.within) if group.within else "")
        for name, group in symmetry.groups.items()
    ]
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


def _refusals(symmetry: Symmetry, shows_all: bool) -> list[str]:
    if not symmetry.refusals:
        return []
    rows = [
        (refusal.operator, refusal.location, refusal.reason, ", ".join(refusal.tensors))
        for refusal in symmetry.refusals
    ]
    return ["\noperators that pin what they touch", *_shortened(rows, shows_all, "operators")]


def _shortened(rows: list[tuple[str, ...]], shows_all: bool, noun: str) -> list[str]:
    shown = rows if shows_all or len(rows) <= SHORT + 1 else rows[:SHORT]
    hidden = len(rows) - len(shown)
    return [_table(shown), *([f"  ... {hidden} more {noun}; --all shows them"] if hidden else [])]


def _table(rows: list[tuple[str, ...]]) -> str:
    indented = [("", *row) for row in rows]
    return columns(indented, numbers_from=len(indented[0]))
