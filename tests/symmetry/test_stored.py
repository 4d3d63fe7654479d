"""Symmetry files: every damaged entry raises a one-line error or is harmless."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onebasin.errors import OneBasinError
from onebasin.symmetry import Permutation, Symmetry
from onebasin.symmetry.groups import Group, UnsupportedOp
from onebasin.symmetry.layouts import Family, Fixed, Product, Sum, Units

VALUES: list[Any] = [
    None, True, 0, 1, -1, 2.5, 10**30, 1e400, "a", "", [], {}, [1], [[]], ["a"], {"a": 1},
    {"fixed": 1}, {"units": "h", "size": 2},
]  # fmt: skip


def example() -> Symmetry:
    fused = (Sum((Fixed(1), Fixed(1)), key="k"), Family("k", (Units("h", 3), Fixed(3, "no"))))
    layouts = {
        "w": (Product((Units("h", 3), Units("d", 2))), Fixed(4)),
        "v": (Product((Units("h", 3), Units("d", 2))), Fixed(4)),
        "fused": fused,
    }
    groups = {"h": Group("h", 3), "d": Group("d", 2, ("h",))}
    unsupported_ops = (UnsupportedOp("aten.cumsum", "model.py", "has no rule", ("w",)),)
    return Symmetry(groups, layouts, {}, (("w", "v"),), ("fused",), ("fused",), unsupported_ops)


def places(value: Any) -> Iterator[list[Any]]:
    """Yield the path of every entry of nested JSON values."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield [key]
        if isinstance(inner, dict | list):
            yield from ([key, *rest] for rest in places(inner))


def variants() -> Iterator[Any]:
    """Yield the JSON of the example with one entry replaced or removed."""
    data = json.loads(json.dumps(example().to_json()))
    for path in places(data):
        for value in [*VALUES, "removed"]:
            changed = copy.deepcopy(data)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            if value == "removed":
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
            yield changed


def test_damaged_symmetries_raise_or_are_usable() -> None:
    num_refused = num_accepted = 0
    for data in variants():
        try:
            symmetry = Symmetry.from_json(data)
        except OneBasinError as error:
            num_refused += 1
            assert "\n" not in str(error)
            continue
        num_accepted += 1
        # Accepted data must be consistent.
        Permutation.random(symmetry).inverse()
        assert len(symmetry.fingerprint) == 64
        assert symmetry.log10_order >= 0
        assert Symmetry.from_json(json.loads(json.dumps(symmetry.to_json()))) == symmetry
    assert num_refused > 800
    assert num_accepted > 50


def test_example_round_trip() -> None:
    assert Symmetry.from_json(json.loads(json.dumps(example().to_json()))) == example()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deep"),
        (
            '{"format": "onebasin-symmetry-2", "groups": 3}',
            r"invalid 'groups' \(got 3\); expected a mapping",
        ),
        ('{"format": "onebasin-symmetry-2"}', "missing entry 'groups'"),
        ("{", "invalid JSON"),
        ("[]", "not a symmetry file of this version"),
    ],
)
def test_invalid_files_raise_one_line_errors(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(OneBasinError, match=message) as caught:
        Symmetry.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def nested(levels: int) -> str:
    deep = '{"product": [' * (levels - 1) + '{"fixed": 4}' + "]}" * (levels - 1)
    return json.dumps(example().to_json()).replace('{"fixed": 4}', deep, 1)


@pytest.mark.parametrize("levels", [101, 300, 900])
def test_too_deeply_nested_layouts_raise(tmp_path: Path, levels: int) -> None:
    (tmp_path / "s.json").write_text(nested(levels))
    with pytest.raises(OneBasinError, match=r"nested (more than 100 levels|too) deep"):
        Symmetry.load(tmp_path / "s.json")


def test_layouts_at_the_depth_limit_are_usable() -> None:
    assert Symmetry.from_json(json.loads(nested(100))).fingerprint


def test_empty_group_names_raise() -> None:
    text = json.dumps(example().to_json()).replace('"h"', '""')
    with pytest.raises(OneBasinError, match="the name of a group or axis is empty"):
        Symmetry.from_json(json.loads(text))
    with pytest.raises(OneBasinError, match="dimension 0 of tensor 'w' has an empty group name"):
        Symmetry.from_spec({"w": ("", None)}, {"w": (2, 3)})
