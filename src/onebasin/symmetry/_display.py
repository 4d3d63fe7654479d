"""Text and HTML summaries of symmetries, permutations and verifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import prod
from typing import TYPE_CHECKING

from onebasin.symmetry.layouts import Units, leaves

if TYPE_CHECKING:
    from onebasin.symmetry._verification.verification import Verification
    from onebasin.symmetry.permutation import Permutation
    from onebasin.symmetry.symmetry import Symmetry

SHOWN_GROUPS, SHOWN_DIMS, MAX_WIDTH = 16, 3, 44


def coupled_dims(symmetry: Symmetry) -> dict[str, list[str]]:
    """Return the tensor dimensions of each group, such as `layer.weight[0]`.

    Args:
        symmetry: the symmetry; a tied tensor is listed under its first name only.
    """
    aliases = {name for names in symmetry.tied for name in names[1:]}
    dims: dict[str, list[str]] = {name: [] for name in symmetry.groups}
    for tensor, layouts in symmetry.layouts.items():
        if tensor in aliases:
            continue
        for dim, layout in enumerate(layouts):
            for group in dict.fromkeys(u.group for u in leaves(layout) if isinstance(u, Units)):
                if group in dims:
                    dims[group].append(f"{tensor}[{dim}]")
    return dims


def symmetry_text(symmetry: Symmetry) -> str:
    """Return a summary of a symmetry: a line of totals, then one line per group.

    Args:
        symmetry: the symmetry; at most sixteen groups are listed.
    """
    rows = _group_rows(symmetry)
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = [f"Symmetry: {_totals(symmetry)}"]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        lines.append(f"  {'  '.join([*cells, row[3]])}".rstrip())
    return "\n".join([*lines, *(f"  {text}" for text in _rest(symmetry))])


def symmetry_html(symmetry: Symmetry) -> str:
    """Return the summary of `symmetry_text` as an HTML table.

    Args:
        symmetry: the symmetry; at most sixteen groups are listed.
    """
    header = ("group", "size", "nesting", "coupled dimensions")
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in _group_rows(symmetry)
    )
    rest = "<br>".join(map(escape, _rest(symmetry)))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<p>Symmetry: {escape(_totals(symmetry))}</p>{table}<p>{rest}</p>"


def permutation_text(permutation: Permutation) -> str:
    """Return a summary of a permutation: the number of moved units per group.

    Args:
        permutation: the permutation.
    """
    symmetry, moved = permutation.symmetry, permutation.num_moved
    sizes = {n: prod(symmetry.outer_shape(n)) * g.size for n, g in symmetry.groups.items()}
    lines = [
        f"Permutation: {sum(moved.values())} of {sum(sizes.values())} permutable units moved, "
        f"{_counted(len(sizes), 'group')}"
    ]
    listed = list(sizes)[:SHOWN_GROUPS]
    width = max((len(_short(name)) for name in listed), default=0)
    lines += [f"  {_short(n).ljust(width)}  {moved[n]} of {sizes[n]} moved" for n in listed]
    left = len(sizes) - len(listed)
    return "\n".join([*lines, *([f"  and {_counted(left, 'more group')}"] if left else [])])


def verification_text(verification: Verification) -> str:
    """Return a summary of a verification: its error, and the failed and unverified groups.

    Args:
        verification: the result of `verify`.
    """
    num_verified = len(verification.symmetry.groups) - len(verification.unverified)
    lines = [
        f"Verification: {_counted(num_verified, 'group')} verified, max relative error "
        f"{verification.max_error:.1e} (tolerance {verification.tolerance:.1e}), "
        f"{verification.seconds:.1f} s"
    ]
    lines += _listed("failed", verification.failed_groups)
    lines += _listed("unverified", dict.fromkeys(verification.unverified, ""))
    lines += _listed("failed class", verification.failed_classes)
    lines += _listed("unverified class", dict.fromkeys(verification.unverified_classes, ""))
    lines += _listed("possibly larger class", verification.possibly_larger_classes)
    return "\n".join(lines)


def _listed(title: str, reasons: Mapping[str, str]) -> list[str]:
    listed = list(reasons.items())[: SHOWN_GROUPS // 2]
    lines = [f"  {title}: {_short(name)}{f' ({why})' if why else ''}" for name, why in listed]
    left = len(reasons) - len(listed)
    return [*lines, *([f"  {title}: and {left} more"] if left else [])]


def _totals(symmetry: Symmetry) -> str:
    return (
        f"{_counted(len(symmetry.groups), 'group')}, 10^{symmetry.log10_order:.2f} equivalent "
        f"copies, {symmetry.permutable_fraction:.3%} of the parameters are permutable"
    )


def _group_rows(symmetry: Symmetry) -> list[tuple[str, str, str, str]]:
    dims = coupled_dims(symmetry)
    return [
        (
            _short(group.name),
            str(group.size),
            f"in {', '.join(map(_short, group.nested_in))}" if group.nested_in else "",
            _abbreviated(dims[name]),
        )
        for name, group in list(symmetry.groups.items())[:SHOWN_GROUPS]
    ]


def _rest(symmetry: Symmetry) -> list[str]:
    lines = []
    left = len(symmetry.groups) - SHOWN_GROUPS
    if left > 0:
        lines.append(f"and {_counted(left, 'more group')}")
    if symmetry.tied:
        lines.append(f"tied tensors: {len(symmetry.tied)}")
    if symmetry.unused:
        lines.append(f"unused tensors: {len(symmetry.unused)}")
    if symmetry.unsupported_ops:
        operators = list(dict.fromkeys(op.operator for op in symmetry.unsupported_ops))
        lines.append(f"unsupported operators: {_abbreviated(operators)}")
    return lines


def _abbreviated(names: Sequence[str]) -> str:
    left = len(names) - SHOWN_DIMS
    listed = ", ".join(map(_short, names[:SHOWN_DIMS]))
    return f"{listed} and {left} more" if left > 0 else listed


def _short(name: str) -> str:
    """Return a name shortened to `MAX_WIDTH` characters by omitting its middle."""
    half = (MAX_WIDTH - 3) // 2
    return name if len(name) <= MAX_WIDTH else f"{name[:half]}...{name[-half:]}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
