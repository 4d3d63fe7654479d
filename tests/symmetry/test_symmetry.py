"""Symmetries: derived quantities and files."""

from __future__ import annotations

import json
from dataclasses import replace
from math import factorial, log10

import pytest
from hypothesis import given

from onebasin.errors import OneBasinError
from onebasin.symmetry.layouts import Fixed, Product, Sum, Units
from onebasin.symmetry.symmetry import Group, Symmetry, UnsupportedOp, restrict
from tests.symmetry.random_symmetries import symmetries


def heads() -> Symmetry:
    h, d = Units("h", 3), Units("d", 4)
    layouts = {
        "q": (Product((h, d)), Fixed(5, "input")),
        "o": (Fixed(5), Product((h, d))),
        "half": (Sum((h, Fixed(3))),),
        "copy": (Sum((h, Fixed(3))),),
        "mean": (h,),
    }
    return Symmetry(
        {"h": Group("h", 3), "d": Group("d", 4, ("h",))},
        layouts,
        tied=(("half", "copy"),),
        buffers=("mean",),
        unsupported_ops=(
            UnsupportedOp("aten.cumsum.default", "model.py:3", "sums in order", ("q",)),
        ),
    )


def test_order_counts_inner_permutations() -> None:
    assert heads().log10_order == pytest.approx(log10(factorial(3) * factorial(4) ** 3), rel=1e-12)


def test_order_of_the_published_mlp() -> None:
    groups = {f"h{i}": Group(f"h{i}", 512) for i in range(3)}
    assert Symmetry(groups, {}).log10_order == pytest.approx(3499.62, abs=0.005)


def test_permutable_fraction_counts_parameters_once() -> None:
    """All but 3 of the 126 entries of q, o and half are permutable; ties and buffers are out."""
    assert heads().permutable_fraction == pytest.approx(123 / 126)
    assert replace(heads(), unused=("half",)).permutable_fraction == 1.0
    assert Symmetry({}, {}).permutable_fraction == 0.0


def test_tensors_of_lists_a_tied_tensor_once() -> None:
    assert heads().tensors_of == {"h": ("q", "o", "half", "mean"), "d": ("q", "o")}


def test_shapes_and_sizes() -> None:
    symmetry = replace(heads(), axes={"x": 7})
    assert symmetry.shapes["q"] == (12, 5)
    assert symmetry.outer_shape("d") == (3,)
    assert symmetry.outer_shape("h") == ()
    assert (symmetry.size_of("d"), symmetry.size_of("x")) == (4, 7)


@given(symmetries())
def test_file_round_trip(tmp_path_factory: pytest.TempPathFactory, symmetry: Symmetry) -> None:
    path = tmp_path_factory.mktemp("symmetries") / "s.json"
    symmetry.save(path)
    assert Symmetry.load(path) == symmetry
    assert Symmetry.load(path).fingerprint == symmetry.fingerprint


def test_file_keeps_everything(tmp_path) -> None:
    heads().save(tmp_path / "s.json")
    assert Symmetry.load(tmp_path / "s.json") == heads()


def test_fingerprint_ignores_reasons_only() -> None:
    base = Symmetry({"h": Group("h", 3)}, {"w": (Units("h", 3), Fixed(2, "input"))})
    same = Symmetry({"h": Group("h", 3)}, {"w": (Units("h", 3), Fixed(2, "output"))})
    other = Symmetry({"h": Group("h", 3)}, {"w": (Units("h", 3), Fixed(4, "input"))})
    assert base.fingerprint == same.fingerprint
    assert base.fingerprint != other.fingerprint
    assert base.fingerprint != replace(base, axes={"x": 2}).fingerprint


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '"text"',
        '{"format": "onebasin-symmetry-0"}',
    ],
)
def test_load_rejects_other_files(tmp_path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(OneBasinError, match=r"s\.json: not a symmetry file of this version"):
        Symmetry.load(path)


def test_load_of_a_missing_file_raises(tmp_path) -> None:
    with pytest.raises(OneBasinError, match=r"none\.json: no such file"):
        Symmetry.load(tmp_path / "none.json")


def test_load_rejects_binary_files(tmp_path) -> None:
    (tmp_path / "s.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OneBasinError, match="invalid UTF-8 at byte 0"):
        Symmetry.load(tmp_path / "s.json")


def test_fixing_an_inner_group_fixes_its_units() -> None:
    fixed = restrict(heads(), {"d": "order matters"})
    assert list(fixed.groups) == ["h"]
    assert fixed.axes == {}
    assert fixed.layouts["q"][0] == Product((Units("h", 3), Fixed(4, "order matters")))
    assert fixed.layouts["half"] == heads().layouts["half"]


def test_fixing_an_outer_group_leaves_an_axis() -> None:
    fixed = restrict(heads(), {"h": "order matters"})
    assert list(fixed.groups) == ["d"]
    assert fixed.axes == {"h": 3}
    assert fixed.layouts["q"] == heads().layouts["q"]
    assert fixed.log10_order == pytest.approx(3 * log10(factorial(4)), rel=1e-12)


def test_fixing_both_in_turn_equals_fixing_both_at_once() -> None:
    fixed = restrict(restrict(heads(), {"h": "one"}), {"d": "two"})
    assert fixed.groups == fixed.axes == {}
    assert json.dumps(fixed.to_json()["layouts"]).count("units") == 0
    together = restrict(heads(), {"h": "one", "d": "two"})
    assert together.fingerprint == fixed.fingerprint
