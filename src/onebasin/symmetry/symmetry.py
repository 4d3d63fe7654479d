"""The symmetry of a model: its groups, and the layout of every parameter and buffer.

Owns `Symmetry`, derived quantities of a symmetry (order,
permutable fraction, fingerprint) and its JSON file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import lgamma, log, prod
from os import PathLike
from typing import Any

from torch import nn

from onebasin._files import atomic_path, read_json
from onebasin.errors import OneBasinError, public
from onebasin.symmetry._blocks import Block, blocks_of
from onebasin.symmetry._display import symmetry_html, symmetry_text
from onebasin.symmetry._nesting import check_nesting
from onebasin.symmetry._spec import Shapes, Spec, fields_from_spec
from onebasin.symmetry._stored import check_stored, fields_from_json
from onebasin.symmetry.actions import GroupAction
from onebasin.symmetry.groups import Group, UnsupportedOp
from onebasin.symmetry.layouts import Fixed, Layout, Units, layout_to_json, substituted

UNNEEDED = "fixed axis that no group nests in"


def restrict(symmetry: Symmetry, reasons: Mapping[str, str]) -> Symmetry:
    """Return a symmetry in which some groups are fixed.

    The layouts of their units become `Fixed` with the given reason. If another group nests
    in a fixed group, the fixed group remains as an axis of that name.

    Args:
        symmetry: the symmetry to restrict.
        reasons: the reason for each group to fix.
    """
    groups = {name: group for name, group in symmetry.groups.items() if name not in reasons}
    needed = {outer for group in groups.values() for outer in group.nested_in}
    sizes = {**symmetry.axes, **{name: symmetry.groups[name].size for name in reasons}}
    axes = {name: size for name, size in sizes.items() if name in needed}
    fixed_by = {name: reasons.get(name, UNNEEDED) for name in sizes if name not in axes}

    def fix(units: Units) -> Layout:
        return Fixed(units.size, fixed_by[units.group]) if units.group in fixed_by else units

    layouts = {
        tensor: tuple(substituted(layout, fix) for layout in layouts)
        for tensor, layouts in symmetry.layouts.items()
    }
    actions = {name: each for name, each in symmetry.actions.items() if name in groups}
    return replace(symmetry, groups=groups, axes=axes, layouts=layouts, actions=actions)


def without_actions(symmetry: Symmetry, names: Collection[str] | None = None) -> Symmetry:
    """Return a symmetry in which some groups have permutations only.

    Args:
        symmetry: the symmetry to restrict.
        names: names of the groups; all groups by default.
    """
    chosen = symmetry.groups if names is None else names
    groups = {
        name: replace(group, symmetry_class="permutation") if name in chosen else group
        for name, group in symmetry.groups.items()
    }
    actions = {name: each for name, each in symmetry.actions.items() if name not in chosen}
    return replace(symmetry, groups=groups, actions=actions)


FORMAT = "onebasin-symmetry-2"


@dataclass(frozen=True)
class Symmetry:
    """All groups of a model and the layout of every parameter and buffer.

    Args:
        groups: the movable groups by name, outer groups before nested ones.
        layouts: one layout per dimension for every tensor of the state dict.
        axes: sizes of the fixed axes that groups nest in, by name.
        tied: tuples of names that share one tensor.
        buffers: names in `layouts` that are buffers; all others are parameters.
        unused: tensors that no selected output depends on; their layouts are fixed.
        unsupported_ops: operators that fixed the tensors they touch.
        buffer_values: digests of the buffers whose values the layouts depend on, by name.
        actions: maps that are not permutations, by group; a group without action has none.
    """

    groups: Mapping[str, Group]
    layouts: Mapping[str, tuple[Layout, ...]]
    axes: Mapping[str, int] = field(default_factory=dict)
    tied: tuple[tuple[str, ...], ...] = ()
    buffers: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    unsupported_ops: tuple[UnsupportedOp, ...] = ()
    buffer_values: Mapping[str, str] = field(default_factory=dict)
    actions: Mapping[str, GroupAction] = field(default_factory=dict)

    def __repr__(self) -> str:
        return symmetry_text(self)

    def _repr_html_(self) -> str:
        return symmetry_html(self)

    @cached_property
    def blocks(self) -> Mapping[str, tuple[Block, ...]]:
        """The blocks of every tensor."""
        return {name: blocks_of(layouts) for name, layouts in self.layouts.items()}

    @cached_property
    def first_names(self) -> Mapping[str, str]:
        """The first name of every tied tensor, which actions and blocks are listed under."""
        return {name: names[0] for names in self.tied for name in names}

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every tensor."""
        return {n: tuple(layout.size for layout in ls) for n, ls in self.layouts.items()}

    @cached_property
    def tensors_of(self) -> Mapping[str, tuple[str, ...]]:
        """The tensors of each group; a tied tensor is listed under its first name only."""
        aliases = {name for names in self.tied for name in names[1:]}
        tensors_by_group: dict[str, list[str]] = {name: [] for name in self.groups}
        for tensor, blocks in self.blocks.items():
            if tensor in aliases:
                continue
            for group in dict.fromkeys(g for block in blocks for g in block.groups):
                if group in tensors_by_group:
                    tensors_by_group[group].append(tensor)
        return {group: tuple(tensors) for group, tensors in tensors_by_group.items()}

    @cached_property
    def carried_blocks(self) -> Mapping[str, tuple[tuple[str, Block], ...]]:
        """The blocks of each group, each with the name of its tensor."""
        blocks_by_group: dict[str, list[tuple[str, Block]]] = {name: [] for name in self.groups}
        for tensor in dict.fromkeys(name for names in self.tensors_of.values() for name in names):
            for block in self.blocks[tensor]:
                for group in dict.fromkeys(block.groups):
                    if group in blocks_by_group:
                        blocks_by_group[group].append((tensor, block))
        return {group: tuple(blocks) for group, blocks in blocks_by_group.items()}

    @cached_property
    def nesting(self) -> Mapping[str, tuple[str, ...]]:
        """The groups and fixed axes that each group nests in, outermost first."""
        return {name: group.nested_in for name, group in self.groups.items()}

    def size_of(self, name: str) -> int:
        """Return the size of a group or fixed axis."""
        return self.groups[name].size if name in self.groups else self.axes[name]

    def outer_shape(self, group: str) -> tuple[int, ...]:
        """Return the sizes of the groups and axes a group nests in, outermost first."""
        return tuple(self.size_of(name) for name in self.groups[group].nested_in)

    @property
    def log10_order(self) -> float:
        """log10 of the number of equivalent copies of the model under the symmetry."""
        logs = (
            prod(self.outer_shape(name)) * lgamma(group.size + 1) / log(10)
            for name, group in self.groups.items()
        )
        return sum(logs, start=0.0)

    @property
    def permutable_fraction(self) -> float:
        """Fraction of the parameter entries with at least one group.

        Tied parameters count once; buffers and unused parameters do not count.
        """
        left_out = {name for names in self.tied for name in names[1:]}
        left_out.update(self.buffers, self.unused)
        total = moved = 0
        for name, blocks in self.blocks.items():
            for block in () if name in left_out else blocks:
                total += block.num_entries
                moved += block.num_entries * any(g in self.groups for g in block.groups)
        return moved / total if total else 0.0

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the groups, axes and layouts, without reasons."""
        data = self.to_json()
        content = {key: data[key] for key in ("groups", "axes", "layouts")}
        text = json.dumps(_without_reasons(content), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the symmetry as plain JSON values."""
        return {
            "format": FORMAT,
            "groups": {
                n: {"size": g.size, "nested_in": list(g.nested_in)} for n, g in self.groups.items()
            },
            "axes": dict(self.axes),
            "layouts": {n: [layout_to_json(x) for x in ls] for n, ls in self.layouts.items()},
            "tied": [list(names) for names in self.tied],
            "buffers": list(self.buffers),
            "unused": list(self.unused),
            "unsupported_ops": [
                {**vars(r), "tensors": list(r.tensors)} for r in self.unsupported_ops
            ],
            "buffer_values": dict(self.buffer_values),
            "actions": {name: action.to_json() for name, action in self.actions.items()},
        }

    @classmethod
    @public
    def from_spec(
        cls,
        spec: Spec,
        shapes: nn.Module | Shapes,
        *,
        nested_in: Mapping[str, Sequence[str]] | None = None,
        axes: Collection[str] = (),
    ) -> Symmetry:
        """Return the symmetry that a permutation spec describes; `verify` tests if it is right.

        Args:
            spec: for each tensor one entry per dimension: the name of a group, None for a fixed
                dimension, or a layout for a composite dimension. Tensors without dimensions may
                be omitted. For tied tensors one name suffices.
            shapes: the module, or a tensor or shape for each name. Buffers are only known from a
                module; ties are only known from a module or tensors.
            nested_in: for each nested group the groups or axes it nests in, outermost first.
            axes: names in `spec` that are fixed axes for groups to nest in.

        Raises:
            OneBasinError: when names are unknown or missing, dimensions do not match the
                tensor, sizes contradict each other, or the nesting is invalid.

        Example:
            >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
            >>> spec = {"0.weight": ("h", None), "0.bias": ("h",),
            ...         "2.weight": (None, "h"), "2.bias": (None,)}
            >>> Symmetry.from_spec(spec, model).groups
            {'h': Group(name='h', size=8, nested_in=(), symmetry_class='permutation')}
        """
        symmetry = cls(**fields_from_spec(spec, shapes, nested_in or {}, axes))
        check_nesting(symmetry.nesting, symmetry.axes, symmetry.blocks)
        return symmetry

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Symmetry:
        """Return a symmetry from the output of `to_json`.

        Raises:
            OneBasinError: when an entry is missing, invalid, or contradicts another entry.
        """
        symmetry = cls(**fields_from_json(data))
        check_stored(symmetry)
        return symmetry

    def save(self, path: str | PathLike[str]) -> None:
        """Write the symmetry to a JSON file.

        Raises:
            OneBasinError: when the file cannot be written; no partial file remains.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Symmetry:
        """Read a symmetry from a file written by `save`.

        Raises:
            OneBasinError: when the file is missing or is not a symmetry.
        """
        data = read_json(path)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise OneBasinError(
                f"{path}: not a symmetry file of this version; write it with Symmetry.save"
            )
        try:
            return cls.from_json(data)
        except OneBasinError as error:
            raise OneBasinError(f"{path}: not a valid symmetry: {error}; write it again") from error


def _without_reasons(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_reasons(v) for k, v in value.items() if k != "reason"}
    return [_without_reasons(v) for v in value] if isinstance(value, list) else value
