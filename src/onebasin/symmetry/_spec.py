"""Validation of permutation specs: for each tensor, one group name per dimension."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from onebasin.errors import ArgumentError
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Fixed, Layout, Units, check_families, leaves

Spec: TypeAlias = Mapping[str, Sequence[Any]]
Shapes: TypeAlias = Mapping[str, Tensor | Sequence[int]]


def fields_from_spec(
    spec: Spec,
    shapes: nn.Module | Shapes,
    nested_in: Mapping[str, Sequence[str]],
    axes: Collection[str],
) -> dict[str, Any]:
    """Return the fields of `Symmetry` from a specification, without a check of the nesting.

    Args:
        spec: as for `Symmetry.from_spec`.
        shapes: as for `Symmetry.from_spec`.
        nested_in: as for `Symmetry.from_spec`.
        axes: as for `Symmetry.from_spec`.

    Raises:
        OneBasinError: as for `Symmetry.from_spec`.
    """
    known = _tensors(shapes)
    sizes = {name: _shape(tensor) for name, tensor in known.items()}
    tied = _tied(known)
    spec = _complete(spec, sizes, tied)
    layouts = {
        name: tuple(
            _layout(name, dim, entry, size) for dim, (entry, size) in _dims(name, spec, shape)
        )
        for name, shape in sizes.items()
    }
    for name, dims in layouts.items():
        check_families(name, dims)
    group_sizes = _group_sizes(layouts)
    _check_used(group_sizes, [*nested_in, *axes])
    groups = [
        Group(name, size, tuple(nested_in.get(name, ())))
        for name, size in group_sizes.items()
        if name not in axes
    ]
    return {
        "groups": {g.name: g for g in sorted(groups, key=lambda group: len(group.nested_in))},
        "layouts": layouts,
        "axes": {name: group_sizes[name] for name in axes},
        "tied": tied,
        "buffers": _buffers(shapes, sizes),
    }


def _tensors(shapes: nn.Module | Shapes) -> Shapes:
    if not isinstance(shapes, nn.Module):
        return shapes
    state = shapes.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _shape(tensor: Tensor | Sequence[int]) -> tuple[int, ...]:
    return tuple(tensor.shape if isinstance(tensor, Tensor) else tensor)


def _tied(known: Shapes) -> tuple[tuple[str, ...], ...]:
    names: dict[int, list[str]] = {}
    for name, tensor in known.items():
        if isinstance(tensor, Tensor):
            names.setdefault(id(tensor), []).append(name)
    return tuple(tuple(same) for same in names.values() if len(same) > 1)


def _buffers(shapes: nn.Module | Shapes, names: Iterable[str]) -> tuple[str, ...]:
    if not isinstance(shapes, nn.Module):
        return ()
    buffers = {name for name, _ in shapes.named_buffers(remove_duplicate=False)}
    return tuple(name for name in names if name in buffers)


def _complete(
    spec: Spec, sizes: Mapping[str, tuple[int, ...]], tied: Iterable[tuple[str, ...]]
) -> Spec:
    """Check the names, and copy the entry of a tied tensor to all its names."""
    for name in spec:
        if name not in sizes:
            raise ArgumentError(f"the model has no tensor {name!r}; remove it")
    complete = {name: () for name, shape in sizes.items() if not shape} | dict(spec)
    for names in tied:
        given = [name for name in names if name in spec]
        for name in names if given else ():
            if tuple(complete.setdefault(name, spec[given[0]])) != tuple(spec[given[0]]):
                raise ArgumentError(
                    f"tied tensors {given[0]!r} and {name!r} differ; give both the same groups"
                )
    for name, shape in sizes.items():
        if name not in complete:
            raise ArgumentError(
                f"missing tensor {name!r} of shape {shape}; give a group name or None for"
                " each dimension"
            )
    return complete


def _dims(name: str, spec: Spec, shape: tuple[int, ...]) -> Iterable[tuple[int, tuple[Any, int]]]:
    entries = spec[name]
    if isinstance(entries, str) or len(entries) != len(shape):
        count = "one name" if isinstance(entries, str) else f"{len(entries)} entries"
        raise ArgumentError(
            f"tensor {name!r} has {len(shape)} dimensions (got {count} for shape {shape});"
            " give a tuple with one entry per dimension"
        )
    return enumerate(zip(entries, shape, strict=True))


def _layout(name: str, dim: int, entry: Any, size: int) -> Layout:
    if entry is None:
        return Fixed(size, "fixed by hand")
    if isinstance(entry, str):
        return Units(entry, size)
    if not isinstance(entry, Layout):
        raise ArgumentError(
            f"invalid entry for dimension {dim} of tensor {name!r} (got {entry!r}); give a"
            " group name, None or a layout"
        )
    if entry.size != size:
        raise ArgumentError(
            f"dimension {dim} of tensor {name!r} has size {size} (got layout {entry} of"
            f" size {entry.size}); correct the layout"
        )
    return entry


def _group_sizes(layouts: Mapping[str, tuple[Layout, ...]]) -> dict[str, int]:
    """Return the size of every group, after checking that all its occurrences agree."""
    seen: dict[str, tuple[int, str, int]] = {}
    for name, dims in layouts.items():
        for dim, layout in enumerate(dims):
            for leaf in leaves(layout):
                if isinstance(leaf, Units):
                    if not leaf.group:
                        raise ArgumentError(
                            f"dimension {dim} of tensor {name!r} has an empty group"
                            " name; give a name, or None for a fixed dimension"
                        )
                    size, other, at = seen.setdefault(leaf.group, (leaf.size, name, dim))
                    if size != leaf.size:
                        raise ArgumentError(
                            f"group {leaf.group!r} has {leaf.size} units in dimension"
                            f" {dim} of tensor {name!r} but {size} in dimension {at} of {other!r};"
                            " use different groups"
                        )
    return {group: size for group, (size, _, _) in seen.items()}


def _check_used(sizes: Mapping[str, int], names: Iterable[str]) -> None:
    for name in names:
        if name not in sizes:
            raise ArgumentError(f"no tensor has group or axis {name!r}; remove it")
