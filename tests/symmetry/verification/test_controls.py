"""Negative controls: unverified groups, limits, and derivatives."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onebasin.symmetry._verification import controls
from onebasin.symmetry._verification.randomize import random_transpositions
from onebasin.symmetry._verification.verification import verify
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Fixed, Sum, Units
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry import small_models
from tests.symmetry.verification.cases import built


def test_dead_groups_are_unverified() -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, _ = small_models.mlp()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) + 0 * self.down(self.up(x))

    model, (_, symmetry) = Dead(), small_models.mlp()
    h = Units("h", 8)
    layouts = {f"net.{name}": dims for name, dims in symmetry.layouts.items()}
    layouts |= {"up.weight": (h, Fixed(4)), "up.bias": (h,), "down.weight": (Fixed(3), h)}
    layouts["down.bias"] = (Fixed(3),)
    dead = Symmetry({**symmetry.groups, "h": Group("h", 8)}, layouts)
    verification = verify(dead, model, (torch.randn(2, 4),))
    assert verification.unverified == ("h",)
    assert verification.failed_groups == {}
    assert list(verification.symmetry.groups) == ["a", "b", "c", "h"]


def test_groups_with_one_tensor_are_controlled_on_half_of_it() -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8, bias=False), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(x).sum(-1, keepdim=True) + self.down(x)

    model = Summed()
    spec = {"up.weight": ("h", None), "down.weight": ("one", None), "down.bias": ("one",)}
    verification = verify(Symmetry.from_spec(spec, model), model, (torch.randn(2, 4),))
    assert list(verification.controls) == ["h"]
    assert verification.unverified == ()
    assert list(verification.symmetry.groups) == ["h", "one"]


class Three(nn.Module):
    """Three units with some invalid permutations: all transpositions, or all but one."""

    def __init__(self, *, cyclic: bool) -> None:
        super().__init__()
        self.up, self.cyclic = nn.Linear(4, 3), cyclic

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.up(x).unbind(-1)
        return a * b**2 + b * c**2 + c * a**2 if self.cyclic else a * b + c**3


@pytest.mark.parametrize("cyclic", [True, False])
def test_groups_with_some_invalid_permutations_fail(cyclic: bool) -> None:
    model = Three(cyclic=cyclic)
    symmetry = Symmetry.from_spec({"up.weight": ("h", None), "up.bias": ("h",)}, model)
    swap = [1, 0, 2]
    seed = next(
        seed
        for seed in range(100)
        if random_transpositions(symmetry, seed=seed).indices["h"].tolist() == swap
    )
    verification = verify(symmetry, model, (torch.randn(2, 4),), seed=seed)
    assert list(verification.failed_groups) == ["h"]


def test_controls_can_be_limited_or_disabled() -> None:
    model, symmetry, x = built("mlp")
    assert len(verify(symmetry, model, (x,), controls=2).controls) == 2
    assert verify(symmetry, model, (x,), controls=False).controls == {}


def test_groups_on_one_unused_tensor_are_unverified() -> None:
    class Unread(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Parameter(torch.randn(8, 4)), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(x + self.table[:2])

    model = Unread()
    spec = {"table": (Sum((Fixed(2), Units("h", 6))), None)}
    spec |= {"out.weight": (None, None), "out.bias": (None,)}
    verification = verify(Symmetry.from_spec(spec, model), model, (torch.randn(2, 4),))
    assert verification.unverified == ("h",)


class Counted(nn.Module):
    """A residual network that counts its forward passes."""

    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4)) for _ in range(num_blocks)
        )
        self.counter = [0]

    def __deepcopy__(self, memo: dict) -> nn.Module:
        other = Counted(0)
        other.blocks, other.counter = copy.deepcopy(self.blocks, memo), self.counter
        return other

    def forward(self, x: Tensor) -> Tensor:
        self.counter[0] += 1
        for block in self.blocks:
            x = x + block(x)
        return x


def residual_symmetry(model: nn.Module) -> Symmetry:
    spec: dict[str, Any] = {}
    for i in range(len(list(model.blocks))):
        spec |= {f"blocks.{i}.0.weight": (f"h{i}", None), f"blocks.{i}.0.bias": (f"h{i}",)}
        spec |= {f"blocks.{i}.2.weight": (None, f"h{i}"), f"blocks.{i}.2.bias": (None,)}
    return Symmetry.from_spec(spec, model)


def test_number_of_forward_passes_is_independent_of_depth() -> None:
    counts = []
    for num_blocks in (2, 20):
        model = Counted(num_blocks)
        verification = verify(residual_symmetry(model), model, (torch.randn(2, 4),))
        assert len(verification.controls) == num_blocks
        counts.append(model.counter[0])
    assert counts[0] == counts[1] < 30


def test_forward_passes_are_used_without_derivatives() -> None:
    class Binary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sign(self.down(torch.sign(self.up(x))))

    model = Binary()
    spec = {"up.weight": ("h", None), "up.bias": ("h",)}
    spec |= {"down.weight": (None, "h"), "down.bias": (None,)}
    verification = verify(Symmetry.from_spec(spec, model), model, (torch.randn(8, 4),))
    assert list(verification.controls) == ["h"]


def test_derivatives_and_forward_passes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ("mlp", "grouped_conv"):
        model, symmetry, x = built(case)
        by_derivatives = verify(symmetry, model, (x,))
        with monkeypatch.context() as patched:
            patched.setattr(controls, "_by_derivatives", lambda *_: {})
            by_runs = verify(symmetry, model, (x,))
        assert set(by_derivatives.controls) == set(by_runs.controls) == set(symmetry.groups)
