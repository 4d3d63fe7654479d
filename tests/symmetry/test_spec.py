"""Hand-written symmetries: accepted specifications and error messages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.symmetry import Symmetry, verify
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Family, Fixed, Product, Sum, Units

SPEC = {
    "0.weight": ("h", None),
    "0.bias": ("h",),
    "2.weight": (None, "h"),
    "2.bias": (None,),
}


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_names_become_units() -> None:
    symmetry = Symmetry.from_spec(SPEC, mlp())
    assert symmetry.groups == {"h": Group("h", 8)}
    assert symmetry.layouts["2.weight"] == (Fixed(2, "fixed by hand"), Units("h", 8))
    assert symmetry.buffers == symmetry.tied == ()


def test_shapes_or_tensors_replace_a_module() -> None:
    model = mlp()
    expected = Symmetry.from_spec(SPEC, model)
    state = model.state_dict()
    assert Symmetry.from_spec(SPEC, state) == expected
    assert Symmetry.from_spec(SPEC, {name: tuple(t.shape) for name, t in state.items()}) == expected


def test_module_identifies_buffers_and_scalars_are_optional() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6))
    names = ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    spec = {"0.weight": ("c", None, None, None)} | {name: ("c",) for name in names}
    symmetry = Symmetry.from_spec(spec, model)
    assert symmetry.buffers == ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    assert symmetry.layouts["1.num_batches_tracked"] == ()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight


def test_one_name_of_a_tie_suffices() -> None:
    symmetry = Symmetry.from_spec({"head.weight": (None, "d")}, Tied())
    assert symmetry.tied == (("embed.weight", "head.weight"),)
    assert symmetry.layouts["embed.weight"] == symmetry.layouts["head.weight"]
    spec = {"head.weight": (None, "d"), "embed.weight": (None, None)}
    with pytest.raises(
        OneBasinError, match=r"tied tensors 'embed\.weight' and 'head\.weight' differ"
    ):
        Symmetry.from_spec(spec, Tied())


def test_layout_terms_and_nesting() -> None:
    heads = Product((Units("h", 2), Units("d", 3)))
    spec = {"qkv": (Sum((heads, heads, Fixed(6))), None), "out": (None, heads)}
    shapes = {"qkv": (18, 5), "out": (5, 6)}
    symmetry = Symmetry.from_spec(spec, shapes, nested_in={"d": ("h",)})
    assert symmetry.groups == {"h": Group("h", 2), "d": Group("d", 3, ("h",))}
    assert list(symmetry.groups) == ["h", "d"]
    fixed = Symmetry.from_spec(spec, shapes, nested_in={"d": ("h",)}, axes=("h",))
    assert fixed.axes == {"h": 2}
    assert list(fixed.groups) == ["d"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.wieght": ("h", None)}, r"^from_spec: the model has no tensor '0\.wieght'"),
        ({"2.bias": ()}, r"'2\.bias' has 1 dimensions \(got 0 entries for shape \(2,\)\); give a"),
        ({"0.bias": "h"}, r"'0\.bias' has 1 dimensions \(got one name for shape \(8,\)\); give a"),
        (
            {"2.weight": ("h", None)},
            r"'h' has 2 units in dimension 0 of tensor '2\.weight' but 8 in dimension 0 of '0\.w",
        ),
        ({"0.bias": (3,)}, r"invalid entry for dimension 0 of tensor '0\.bias' \(got 3\); give a"),
        (
            {"0.bias": (Product((Units("a", 2), Units("b", 3))),)},
            r"dimension 0 of tensor '0\.bias' has size 8 \(got layout \(a:2 × b:3\) of size 6",
        ),
        ({"0.bias": (Family("k", (Fixed(8), Units("h", 8))),)}, "'0.bias' .* no sum 'k'"),
    ],
)
def test_contradictory_specs_raise(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OneBasinError, match=message):
        Symmetry.from_spec({**SPEC, **change}, mlp())


def test_missing_tensors_raise() -> None:
    spec = {name: dims for name, dims in SPEC.items() if name != "2.weight"}
    with pytest.raises(
        OneBasinError, match=r"missing tensor '2\.weight' of shape \(2, 8\); give a"
    ):
        Symmetry.from_spec(spec, mlp())


def test_family_needs_one_member_of_equal_size_per_part() -> None:
    shapes = {"w": (4, 3)}
    two = Sum((Fixed(2), Fixed(2)), "k")
    for members in [(Fixed(3),), (Fixed(3), Fixed(2)), (Fixed(3), Fixed(3), Fixed(3))]:
        with pytest.raises(OneBasinError, match=r"tensor 'w' .* its sum 'k' has 2 parts"):
            Symmetry.from_spec({"w": (two, Family("k", members))}, shapes)


def test_nesting_is_checked() -> None:
    with pytest.raises(OneBasinError, match="no tensor has group or axis 'g'; remove it"):
        Symmetry.from_spec(SPEC, mlp(), nested_in={"g": ("h",)})
    with pytest.raises(OneBasinError, match="no tensor has group or axis 'x'"):
        Symmetry.from_spec(SPEC, mlp(), axes=("x",))
    with pytest.raises(OneBasinError, match=r"'h' nests in 'z', which is not another group"):
        Symmetry.from_spec(SPEC, mlp(), nested_in={"h": ("z",)})


def test_invalid_spec_fails_verification() -> None:
    spec = {**SPEC, "0.bias": (None,)}
    model = mlp()
    symmetry = Symmetry.from_spec(spec, model)
    verification = verify(symmetry, model, (torch.randn(3, 4),))
    assert list(verification.failed_groups) == ["h"]
    assert verify(Symmetry.from_spec(SPEC, model), model, (torch.randn(3, 4),)).failed_groups == {}
