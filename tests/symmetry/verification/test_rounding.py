"""Rounding: a model that amplifies rounding keeps its right groups, and no wrong one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onebasin import infer_symmetry
from onebasin.symmetry import symmetry_from_spec, verify
from onebasin.symmetry._verification.perturbation import jitter


class Sensitive(nn.Module):
    """A network in which the last bits of a parameter can be seen."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.first, self.second = nn.Linear(6, 40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.gain * self.second(torch.relu(self.first(x))))


def test_rounding_that_the_model_blows_up_is_no_wrong_group() -> None:
    model, x = Sensitive(1e8), torch.randn(4, 6)
    proof = verify(infer_symmetry(model, x), model, x)
    assert not proof.failed_groups
    assert 1e-9 < proof.max_error <= proof.tolerance <= 1e-5


def test_a_wrong_group_is_found_all_the_same() -> None:
    model, x = Sensitive(1e8), torch.randn(4, 6)
    wrong = {
        "first.weight": ("units", None),
        "first.bias": ("units",),
        "second.weight": ("outputs", "units"),
        "second.bias": ("outputs",),
    }
    proof = verify(symmetry_from_spec(wrong, model.state_dict()), model, x)
    assert set(proof.failed_groups) == {"outputs"}
    assert set(proof.symmetry.groups) == {"units"}


def test_a_plain_model_is_held_to_the_strict_tolerance() -> None:
    model, x = Sensitive(1.0), torch.randn(4, 6)
    assert verify(infer_symmetry(model, x), model, x).tolerance == 1e-9


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_jitter_changes_the_last_bit(dtype: torch.dtype) -> None:
    tensor = torch.arange(1, 1000).to(dtype)
    changed = jitter(tensor, torch.Generator().manual_seed(0))
    if dtype == torch.int64:
        assert torch.equal(changed, tensor)
        return
    relative = (changed - tensor).abs() / tensor
    assert 0 < float(relative.max()) <= 2**-51
    assert float((changed != tensor).double().mean()) > 0.9


class Dead(Sensitive):
    """A sensitive network with units that nothing depends on."""

    def __init__(self, gain: float) -> None:
        super().__init__(gain)
        self.third, self.fourth = nn.Linear(6, 20), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0 * self.fourth(torch.relu(self.third(x)))


def test_rounding_is_no_control() -> None:
    model, x = Dead(1e8), torch.randn(4, 6)
    proof = verify(infer_symmetry(model, x), model, x)
    assert proof.tolerance > 1e-8
    assert proof.unverified == ("third",)
    assert set(proof.controls) == {"first"}


def test_rounding_of_a_model_in_single_precision_hides_no_wrong_group() -> None:
    class OnlySingle(nn.Module):
        """Runs in float32 only, where its rounding is as large as the error of a wrong group."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)
            self.scale = nn.Parameter(torch.randn(16))

        def forward(self, x: Tensor) -> Tensor:
            if x.dtype != torch.float32:
                raise TypeError("only float32")
            hidden = torch.relu(self.first(x))
            y = self.second(hidden)
            return y + torch.sin(300 * y) + 2e-4 * (hidden * self.scale).sum(-1, keepdim=True)

    model = OnlySingle()
    torch.manual_seed(0)
    x = torch.randn(4, 6)
    spec = {
        "first.weight": ("u", None),
        "first.bias": ("u",),
        "second.weight": (None, "u"),
        "second.bias": (None,),
        "scale": (None,),
    }
    symmetry = symmetry_from_spec(spec, model)
    for seed in range(9):
        proof = verify(symmetry, model, x, seed=seed)
        assert proof.precision == "float32"
        assert not proof.controls
