"""Layouts: sizes, leaves, text and JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from onebasin.errors import OneBasinError
from onebasin.symmetry._stored import layout_from_json
from onebasin.symmetry.layouts import (
    Family,
    Fixed,
    Layout,
    Product,
    Sum,
    Units,
    children,
    layout_to_json,
    leaves,
)
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry.random_symmetries import symmetries

H, D, F = Units("h", 3), Units("d", 4), Fixed(2, "a table")


@pytest.mark.parametrize(
    ("layout", "size", "text"),
    [
        (F, 2, "2"),
        (H, 3, "h:3"),
        (Product((H, D)), 12, "(h:3 × d:4)"),
        (Sum((H, F, D)), 9, "(h:3 + 2 + d:4)"),
        (Family("k", (D, Fixed(4))), 4, "{d:4 | 4}"),
        (Product((F, Sum((H, H)))), 12, "(2 × (h:3 + h:3))"),
        (Product(()), 1, "()"),
    ],
)
def test_size_and_text(layout: Layout, size: int, text: str) -> None:
    assert layout.size == size
    assert str(layout) == text


def test_leaves_are_in_order() -> None:
    layout = Sum((Product((H, F)), Family("k", (D, Fixed(4))), H))
    assert list(leaves(layout)) == [H, F, D, Fixed(4), H]
    assert children(layout) == layout.parts
    assert children(H) == children(F) == ()


@given(symmetries())
def test_json_round_trip(symmetry: Symmetry) -> None:
    for layouts in symmetry.layouts.values():
        for layout in layouts:
            text = json.dumps(layout_to_json(layout))
            assert layout_from_json(json.loads(text)) == layout


def test_json_keeps_reasons_and_keys() -> None:
    layout = Product((Sum((F, H), key="k"), Family("k", (D, Fixed(4, "why")))))
    assert layout_from_json(layout_to_json(layout)) == layout
    assert layout_to_json(F) == {"fixed": 2, "reason": "a table"}
    assert layout_to_json(Sum((H,))) == {"sum": [{"units": "h", "size": 3}]}


@pytest.mark.parametrize("data", [{}, {"units": "h"}, {"family": []}, {"sum": [{}]}])
def test_invalid_json_raises(data: dict) -> None:
    with pytest.raises(OneBasinError):
        layout_from_json(data)
