"""Valid symmetries pass verification, and groups of invalid ones fail."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.symmetry._verification.verification import verify
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Fixed, Product, Sum, Units
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry import small_models
from tests.symmetry.verification.cases import CASES, built


@pytest.mark.parametrize("case", CASES)
def test_valid_symmetries_are_verified(case: str) -> None:
    model, symmetry, x = built(case)
    verification = verify(symmetry, model, (x,))
    assert verification.failed_groups == {}
    assert verification.max_error < 1e-12
    assert verification.symmetry == symmetry
    assert set(verification.controls) == set(symmetry.groups)
    assert all(control.change > 1e-6 for control in verification.controls.values())
    assert verification.unverified == ()
    assert verification.seconds > 0


def with_layout(symmetry: Symmetry, tensor: str, *layouts: Any) -> Symmetry:
    return replace(symmetry, layouts={**symmetry.layouts, tensor: layouts})


@pytest.mark.parametrize("tensor", ["2.bias", "2.weight", "4.weight"])
def test_invalid_group_fails_and_others_remain(tensor: str) -> None:
    model, symmetry, x = built("mlp")
    layouts = [Fixed(6) if x == Units("b", 6) else x for x in symmetry.layouts[tensor]]
    verification = verify(with_layout(symmetry, tensor, *layouts), model, (x,))
    assert list(verification.failed_groups) == ["b"]
    assert "changes the output by" in verification.failed_groups["b"]
    assert list(verification.symmetry.groups) == ["a", "c"] == list(verification.controls)
    assert verification.symmetry.layouts["4.weight"][1].size == 6
    assert isinstance(verification.symmetry.layouts["4.weight"][1], Fixed)
    assert verification.max_error < 1e-12


def test_all_invalid_groups_fail() -> None:
    model, symmetry, x = built("mlp")
    wrong = with_layout(symmetry, "0.bias", Fixed(8))
    wrong = with_layout(wrong, "4.bias", Fixed(5))
    verification = verify(wrong, model, (x,))
    assert sorted(verification.failed_groups) == ["a", "c"]
    assert list(verification.symmetry.groups) == ["b"]


def test_unpermuted_batch_norm_statistic_fails() -> None:
    """Initial statistics are zeros and ones; only generic ones show the error."""
    for name in ("1.running_mean", "1.running_var", "1.weight", "1.bias"):
        model, symmetry, x = built("conv_net")
        verification = verify(with_layout(symmetry, name, Fixed(6)), model, (x,))
        assert list(verification.failed_groups) == ["c"], name
        assert list(verification.symmetry.groups) == ["e"]


def test_invalid_outer_group_becomes_an_axis() -> None:
    model, symmetry, x = built("grouped_conv")
    g = Units("g", 3)
    wrong = with_layout(symmetry, "into.bias", Product((Fixed(3), Fixed(2))))
    wrong = replace(wrong, groups={"g": Group("g", 3), "o": Group("o", 4, ("g",))})
    layouts = {
        name: tuple(_fix(layout, "i") for layout in dims) for name, dims in wrong.layouts.items()
    }
    verification = verify(replace(wrong, layouts=layouts), model, (x,))
    assert list(verification.failed_groups) == ["g"]
    assert verification.symmetry.axes == {"g": 3}
    assert list(verification.symmetry.groups) == ["o"]
    assert verification.symmetry.layouts["out.weight"][1] == Product((g, Units("o", 4)))


def _fix(layout: Any, group: str) -> Any:
    match layout:
        case Units(name, size) if name == group:
            return Fixed(size)
        case Product(factors):
            return Product(tuple(_fix(factor, group) for factor in factors))
        case _:
            return layout


def test_heads_with_a_shared_permutation_fail() -> None:
    """Heads of q and k have separate permutations, unless all heads share one table."""
    model, symmetry, x = built("attention")
    shared = replace(symmetry, groups={**symmetry.groups, "d": Group("d", 3)})
    assert verify(shared, model, (x,)).failed_groups == {}
    fused = Sum((Units("all", 6), Units("all", 6), Product((Units("h", 2), Units("v", 3)))))
    groups = {"all": Group("all", 6), "h": Group("h", 2), "v": Group("v", 3, ("h",))}
    layouts = {**symmetry.layouts, "qkv.weight": (fused, Fixed(8)), "qkv.bias": (fused,)}
    verification = verify(Symmetry(groups, layouts), model, (x,))
    assert "all" in verification.failed_groups
    assert "v" in verification.symmetry.groups


@pytest.mark.parametrize("inside", [torch.float32, torch.bfloat16])
def test_internal_upcasts_do_not_hide_errors(inside: torch.dtype) -> None:
    torch.manual_seed(0)
    model, symmetry = small_models.attention(inside)
    verification = verify(symmetry, model, (torch.randn(2, 5, 8),))
    assert verification.failed_groups == {}
    assert verification.max_error < 1e-12


@pytest.mark.parametrize("case", ["mlp", "attention", "grouped_conv"])
def test_parameters_that_start_at_zero_do_not_hide_errors(case: str) -> None:
    model, symmetry, x = built(case)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    verification = verify(symmetry, model, (x,))
    assert set(verification.controls) == set(symmetry.groups)


def test_tiny_layer_scales_do_not_hide_errors() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
            self.scale = nn.Parameter(torch.full((4,), 1e-9))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.scale * self.down(self.up(x).relu())

    model = Scaled()
    spec = {"up.weight": ("h", None), "up.bias": (None,), "down.weight": (None, "h")}
    spec |= {"down.bias": (None,), "scale": (None,)}
    verification = verify(Symmetry.from_spec(spec, model), model, (torch.randn(2, 4),))
    assert list(verification.failed_groups) == ["h"]


class Deep(nn.Module):
    """Sixteen layers that attenuate the signal, by small weights or mismatched statistics."""

    def __init__(self, weight: float, variance: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(16))
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(16))
        with torch.no_grad():
            for layer, norm in zip(self.layers, self.norms, strict=True):
                layer.weight.mul_(weight)
                norm.running_var.fill_(variance)

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x)).relu()
        return x.mean((2, 3))


@pytest.mark.parametrize(("weight", "variance"), [(0.01, 1.0), (1.0, 1e4)])
def test_vanishing_signals_do_not_hide_errors(weight: float, variance: float) -> None:
    torch.manual_seed(0)
    model = Deep(weight, variance)
    spec: dict[str, Any] = {}
    for i in range(16):
        out, into = (f"c{i}" if i < 15 else None), (f"c{i - 1}" if i else None)
        spec |= {f"layers.{i}.weight": (out, into, None, None), f"layers.{i}.bias": (out,)}
        names = ("weight", "bias", "running_mean", "running_var")
        spec |= {f"norms.{i}.{name}": (out,) for name in names}
    symmetry, x = Symmetry.from_spec(spec, model), torch.randn(2, 4, 3, 3)
    verification = verify(symmetry, model, (x,))
    assert verification.failed_groups == {}
    assert set(verification.controls) == set(symmetry.groups)
    assert min(control.change for control in verification.controls.values()) > 1e-3
    wrong = with_layout(symmetry, "norms.0.running_mean", Fixed(4))
    assert list(verify(wrong, model, (x,)).failed_groups) == ["c0"]


def test_integer_outputs_must_agree_exactly() -> None:
    class Best(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 6)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            logits = self.net(x)
            return {"best": logits.argmax(-1), "score": logits.max(-1).values}

    model = Best()
    spec = {"net.weight": ("o", None), "net.bias": ("o",)}
    symmetry = Symmetry.from_spec(spec, model)
    x = torch.randn(5, 4)
    assert list(verify(symmetry, model, (x,)).failed_groups) == ["o"]
    chosen = verify(symmetry, model, (x,), outputs=lambda out: out["score"])
    assert chosen.failed_groups == {}


def test_keyword_inputs_and_integer_inputs() -> None:
    class Embeds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, ids: Tensor, *, scale: Tensor) -> Tensor:
            return self.out(self.table(ids)) * scale

    model = Embeds()
    spec = {"table.weight": (None, "d"), "out.weight": (None, "d"), "out.bias": (None,)}
    ids, scale = torch.tensor([[1, 2], [3, 4]]), torch.tensor(3.0)
    symmetry = Symmetry.from_spec(spec, model)
    verification = verify(symmetry, model, (ids,), {"scale": scale})
    assert verification.failed_groups == {}
    assert list(verification.controls) == ["d"]


def test_tied_parameters_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.embed(ids).relu())

    model = Tied()
    symmetry = Symmetry.from_spec({"embed.weight": (None, "d")}, model)
    assert verify(symmetry, model, (torch.tensor([[1, 2]]),)).failed_groups == {}
    layouts = {**symmetry.layouts, "head.weight": (Fixed(9), Fixed(4))}
    with pytest.raises(
        OneBasinError, match=r"tied tensors 'embed\.weight' and 'head\.weight' differ"
    ):
        verify(replace(symmetry, layouts=layouts), model, (torch.tensor([[1, 2]]),))


def test_complex_parameters() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.randn(8, 3, dtype=torch.complex64))
            self.down = nn.Parameter(torch.randn(2, 8, dtype=torch.complex64))

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.fft.rfft(x.float()).to(torch.complex64) @ self.up.t()
            return hidden.abs().to(hidden.dtype) @ self.down.t()

    model = Spectral()
    symmetry = Symmetry.from_spec({"up": ("h", None), "down": (None, "h")}, model)
    verification = verify(symmetry, model, (torch.randn(2, 4),))
    assert verification.failed_groups == {}
    assert verification.max_error < 1e-12
    assert list(verification.controls) == ["h"]


def test_same_seed_gives_same_verification() -> None:
    model, symmetry, x = built("attention")
    one, two = (verify(symmetry, model, (x,), seed=4) for _ in range(2))
    assert one.controls == two.controls
    assert one.max_error == two.max_error
    assert verify(symmetry, model, (x,), seed=5).controls != one.controls


def test_mismatches_raise() -> None:
    model, symmetry, x = built("mlp")
    with pytest.raises(OneBasinError, match=r"'0\.weight' is on the meta device; .* real weights"):
        verify(symmetry, copy.deepcopy(model).to("meta"), (x,))
    with pytest.raises(OneBasinError, match=r"the model has no tensor '0\.weight'"):
        verify(symmetry, nn.Identity(), (x,))
    with pytest.raises(OneBasinError, match=r"'0\.weight' \(got \(9, 4\) in the model, \(8, 4\)"):
        verify(symmetry, nn.Sequential(nn.Linear(4, 9), *list(model)[1:]), (x,))
    with pytest.raises(OneBasinError, match="returns no selected tensor; pass outputs="):
        verify(symmetry, model, (x,), outputs=lambda out: None)
    with pytest.raises(OneBasinError, match="returns NaN on the example inputs"):
        verify(symmetry, model, (x * torch.nan,))
