"""Verification of models that amplify rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onebasin import infer_symmetry
from onebasin.symmetry import Symmetry, verify
from onebasin.symmetry._verification.randomize import add_rounding_noise


class Sensitive(nn.Module):
    """A network whose outputs depend visibly on the last bits of its parameters."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.first, self.second = nn.Linear(6, 40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.gain * self.second(torch.relu(self.first(x))))


def test_amplified_rounding_does_not_fail_valid_groups() -> None:
    model, x = Sensitive(1e8), torch.randn(4, 6)
    verification = verify(infer_symmetry(model, x), model, x)
    assert not verification.failed_groups
    assert 1e-9 < verification.max_error <= verification.tolerance <= 1e-5


def test_invalid_group_fails_despite_amplified_rounding() -> None:
    model, x = Sensitive(1e8), torch.randn(4, 6)
    invalid = {
        "first.weight": ("units", None),
        "first.bias": ("units",),
        "second.weight": ("outputs", "units"),
        "second.bias": ("outputs",),
    }
    verification = verify(Symmetry.from_spec(invalid, model.state_dict()), model, x)
    assert set(verification.failed_groups) == {"outputs"}
    assert set(verification.symmetry.groups) == {"units"}


def test_ordinary_model_uses_the_strict_tolerance() -> None:
    model, x = Sensitive(1.0), torch.randn(4, 6)
    assert verify(infer_symmetry(model, x), model, x).tolerance == 1e-9


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_rounding_noise_changes_the_last_bit(dtype: torch.dtype) -> None:
    tensor = torch.arange(1, 1000).to(dtype)
    changed = add_rounding_noise(tensor, torch.Generator().manual_seed(0))
    if dtype == torch.int64:
        assert torch.equal(changed, tensor)
        return
    relative = (changed - tensor).abs() / tensor
    assert 0 < float(relative.max()) <= 2**-51
    assert float((changed != tensor).double().mean()) > 0.9


class Dead(Sensitive):
    """A sensitive network with units that do not affect the outputs."""

    def __init__(self, gain: float) -> None:
        super().__init__(gain)
        self.third, self.fourth = nn.Linear(6, 20), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0 * self.fourth(torch.relu(self.third(x)))


def test_rounding_does_not_count_as_control() -> None:
    model, x = Dead(1e8), torch.randn(4, 6)
    verification = verify(infer_symmetry(model, x), model, x)
    assert verification.tolerance > 1e-8
    assert verification.unverified == ("third",)
    assert set(verification.controls) == {"first"}


def test_single_precision_does_not_verify_invalid_groups() -> None:
    class OnlySingle(nn.Module):
        """Runs in float32 only, where rounding is as large as the error of an invalid group."""

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
    symmetry = Symmetry.from_spec(spec, model)
    for seed in range(9):
        verification = verify(symmetry, model, x, seed=seed)
        assert verification.precision == "float32"
        assert not verification.controls
