"""Validated reading of symmetries from JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

from onebasin.errors import OneBasinError
from onebasin.symmetry._nesting import check_nesting
from onebasin.symmetry.actions import GroupAction
from onebasin.symmetry.groups import Group, UnsupportedOp
from onebasin.symmetry.layouts import (
    Family,
    Fixed,
    Layout,
    Product,
    Sum,
    Units,
    check_families,
    leaves,
)

if TYPE_CHECKING:
    from onebasin.symmetry.symmetry import Symmetry

_MAX_SIZE = 2**62
_MAX_UNCARRIED = 1_000_000
_MAX_DEPTH = 100
"""Maximum depth of nested layouts; functions of layouts recurse over them."""

T = TypeVar("T")


def fields_from_json(data: Any) -> dict[str, Any]:
    """Return the fields of a symmetry from the output of `Symmetry.to_json`.

    Raises:
        OneBasinError: naming the first entry that is missing or has the wrong type.
    """
    groups = {
        name: replace(group, name=name) for name, group in _mapping(data, "groups", _group).items()
    }
    actions = _mapping({"actions": {}} | dict(data), "actions", _action)
    groups = {
        name: replace(group, symmetry_class=actions[name].symmetry_class)
        if name in actions
        else group
        for name, group in groups.items()
    }
    return {
        "actions": actions,
        "groups": dict(sorted(groups.items(), key=lambda item: len(item[1].nested_in))),
        "layouts": _mapping(data, "layouts", _layouts),
        "axes": _mapping(data, "axes", _size),
        "tied": tuple(map(tuple, _lists(data, "tied"))),
        "buffers": tuple(_names("buffers", _get(data, "buffers"))),
        "unused": tuple(_names("unused", _get(data, "unused"))),
        "unsupported_ops": tuple(_unsupported_ops(_get(data, "unsupported_ops"))),
        "buffer_values": _mapping({"buffer_values": {}} | dict(data), "buffer_values", _text),
    }


def check_stored(symmetry: Symmetry) -> None:
    """Check that the entries of a stored symmetry agree.

    Raises:
        OneBasinError: naming the first entry that contradicts another one.
    """
    _check_names(symmetry)
    for name, layouts in symmetry.layouts.items():
        check_families(name, layouts)
        _check_units(symmetry, name, layouts)
    check_nesting(symmetry.nesting, symmetry.axes, symmetry.blocks)
    _check_uncarried(symmetry)


def layout_from_json(data: Any, where: str = "a tensor", depth: int = 1) -> Layout:
    """Return a layout from the output of `layout_to_json`.

    Args:
        data: plain JSON values.
        where: the tensor, for messages.
        depth: nesting level of the layout; the layout of a tensor dimension has level 1.

    Raises:
        OneBasinError: when the data is not a valid layout.
    """
    if not isinstance(data, Mapping):
        raise _fail(f"layout of {where}", "a mapping", data)
    if depth > _MAX_DEPTH:
        raise OneBasinError(f"the layouts of {where} are nested more than {_MAX_DEPTH} levels deep")
    if "fixed" in data:
        return Fixed(_size(where, data["fixed"]), _text(where, data.get("reason", "")))
    if "units" in data:
        return Units(_text(where, data["units"]), _size(where, _get(data, "size")))
    for kind in ("product", "sum", "family"):
        if kind in data:
            parts = _layouts(where, data[kind], depth + 1)
            if not parts:
                raise OneBasinError(f"a {kind} in {where} has no parts")
            return _composed(where, kind, parts, data)
    raise OneBasinError(
        f"invalid layout of {where}; expected one of fixed, units, product, sum, family"
    )


def _fail(where: str, expected: str, given: Any) -> OneBasinError:
    text = repr(given) if isinstance(given, str | int | float | None) else type(given).__name__
    return OneBasinError(f"invalid {where} (got {text[:80]}); expected {expected}")


def _get(data: Any, key: str) -> Any:
    if not isinstance(data, Mapping):
        raise _fail("content", "a mapping", data)
    if key not in data:
        raise OneBasinError(f"missing entry {key!r}")
    return data[key]


def _mapping(data: Any, key: str, read: Callable[[str, Any], T]) -> dict[str, T]:
    entries = _get(data, key)
    if not isinstance(entries, Mapping):
        raise _fail(f"{key!r}", "a mapping", entries)
    return {_text(key, n): read(f"{n!r} in {key!r}", e) for n, e in entries.items()}


def _list(where: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise _fail(where, "a list", value)
    return value


def _lists(data: Any, key: str) -> Iterator[list[str]]:
    for place, names in enumerate(_list(repr(key), _get(data, key))):
        yield _names(f"{key}[{place}]", names)


def _names(where: str, value: Any) -> list[str]:
    return [_text(where, name) for name in _list(where, value)]


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _fail(f"name in {where}", "a string", value)
    return value


def _size(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_SIZE:
        raise _fail(f"size of {where}", "a non-negative integer", value)
    return value


def _action(where: str, data: Any) -> GroupAction:
    try:
        return GroupAction.from_json(data)
    except OneBasinError as error:
        raise OneBasinError(f"{where}: {error}") from error


def _group(where: str, data: Any) -> Group:
    size, nested_in = _size(where, _get(data, "size")), _names(where, _get(data, "nested_in"))
    if size < 1 or len(set(nested_in)) != len(nested_in):
        raise OneBasinError(f"{where} has no units or repeats an outer group")
    return Group("", size, tuple(nested_in))


def _layouts(where: str, value: Any, depth: int = 1) -> tuple[Layout, ...]:
    return tuple(layout_from_json(entry, where, depth) for entry in _list(where, value))


def _composed(where: str, kind: str, parts: tuple[Layout, ...], data: Mapping[str, Any]) -> Layout:
    if kind == "product":
        return Product(parts)
    if kind == "sum":
        return Sum(parts, _text(where, data.get("key", "")))
    return Family(_text(where, _get(data, "key")), parts)


def _unsupported_ops(value: Any) -> Iterator[UnsupportedOp]:
    for place, data in enumerate(_list("'unsupported_ops'", value)):
        where = f"unsupported_ops[{place}]"
        texts = {key: _text(where, _get(data, key)) for key in ("operator", "location", "reason")}
        yield UnsupportedOp(**texts, tensors=tuple(_names(where, _get(data, "tensors"))))


def _check_names(symmetry: Symmetry) -> None:
    """Check the names of groups and tensors."""
    if "" in symmetry.groups or "" in symmetry.axes:
        raise OneBasinError("the name of a group or axis is empty")
    both = symmetry.groups.keys() & symmetry.axes.keys()
    if both:
        raise OneBasinError(f"{min(both)!r} is both a group and an axis")
    lists = {"tied": [n for names in symmetry.tied for n in names], "buffers": symmetry.buffers}
    for key, names in {**lists, "unused": symmetry.unused}.items():
        for name in names:
            if name not in symmetry.layouts:
                raise OneBasinError(f"{key!r} names {name!r}, which is not in 'layouts'")
    for names in symmetry.tied:
        if len({symmetry.shapes[name] for name in names}) > 1:
            raise OneBasinError(f"tied tensors {names[0]!r} and {names[1]!r} differ in shape")


def _check_units(symmetry: Symmetry, name: str, layouts: Sequence[Layout]) -> None:
    """Check that the units of a tensor belong to groups or axes of the same size."""
    for leaf in (leaf for layout in layouts for leaf in leaves(layout)):
        if not isinstance(leaf, Units):
            continue
        if leaf.group not in symmetry.groups and leaf.group not in symmetry.axes:
            raise OneBasinError(f"tensor {name!r} has units of unknown group {leaf.group!r}")
        if leaf.size != symmetry.size_of(leaf.group):
            raise OneBasinError(
                f"group {leaf.group!r} has {symmetry.size_of(leaf.group)} units, but "
                f"{leaf.size} in tensor {name!r}"
            )


def _check_uncarried(symmetry: Symmetry) -> None:
    """Limit the size of groups without tensors, which nothing else in the file limits."""
    for name, group in symmetry.groups.items():
        num_units = prod((*symmetry.outer_shape(name), group.size))
        if num_units > _MAX_UNCARRIED and not symmetry.tensors_of[name]:
            raise OneBasinError(f"group {name!r} has {num_units} units but no tensor")
