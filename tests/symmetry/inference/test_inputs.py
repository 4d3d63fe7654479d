"""Inputs as a mapping, control flow, deep nesting and unusual state dicts."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, infer_symmetry
from onebasin.symmetry import verify
from tests.symmetry.inference.equivariance import sizes
from tests.symmetry.inference.snippets import x


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, h, scale=1.0):
        return self.b(torch.relu(self.a(h))) * scale


class OfBatch(Net):
    def forward(self, batch):
        return super().forward(batch["h"])


@pytest.mark.parametrize("model", [Net(), OfBatch()])
def test_mapping_of_inputs_is_accepted(model):
    symmetry = infer_symmetry(model, {"h": x(3, 4), "labels": torch.zeros(3)})
    assert sizes(symmetry) == [(8, 0)]
    assert not verify(symmetry, model, {"h": x(3, 4), "labels": torch.zeros(3)}).failed_groups


def test_unknown_input_raises():
    with pytest.raises(OneBasinError, match="Net takes no input 'mask'; it takes h, scale"):
        infer_symmetry(Net(), {"h": x(3, 4), "mask": x(3)})


class Choice(Net):
    """Swaps the halves of the units depending on the data."""

    def forward(self, h):
        h = torch.cond(
            h.sum() > 0,
            lambda u: torch.cat([u[:, 4:], u[:, :4]], 1),
            torch.tanh,
            (self.a(h),),
        )
        return self.b(h)


def test_both_data_dependent_branches_constrain_the_symmetry():
    assert sizes(infer_symmetry(Choice(), x(3, 4))) == [(4, 0)]


def test_deeply_nested_modules_are_supported():
    model = nn.Sequential(Net())
    for _ in range(200):
        model = nn.Sequential(model)
    limit = sys.getrecursionlimit()
    assert sizes(infer_symmetry(model, x(3, 4))) == [(8, 0)]
    assert sys.getrecursionlimit() == limit


def test_too_deeply_nested_modules_raise():
    model = Net()
    for _ in range(501):
        model = nn.Sequential(model)
    with pytest.raises(OneBasinError, match=r"nested too deeply \(got \d+ levels, limit 500\)"):
        infer_symmetry(model, x(3, 4))


class Extra(Net):
    """Saves additional state."""

    def __init__(self, value) -> None:
        super().__init__()
        self.value = value

    def get_extra_state(self):
        return self.value

    def set_extra_state(self, state):
        pass


class Renamed(Net):
    """Saves its first layer under another name."""

    def __init__(self) -> None:
        super().__init__()
        self._register_state_dict_hook(self._rename)

    @staticmethod
    def _rename(module, state, prefix, metadata):
        state[f"{prefix}first.weight"] = state.pop(f"{prefix}a.weight")


class Lean(Net):
    """Omits a frozen layer from its state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 8)

    def forward(self, h):
        return self.b(torch.relu(self.a(h)) + self.frozen(h))

    def state_dict(self, *args, **kwargs):
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if "frozen" not in name}


UNUSUAL = {
    "extra dict": (lambda: Extra({"version": 3}), [(8, 0)]),
    "extra tensor": (lambda: Extra(torch.arange(4)), [(8, 0)]),
    "renamed": (Renamed, [(8, 0)]),
    "lean": (Lean, []),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_state_dicts_with_extra_or_missing_tensors(name):
    build, expected = UNUSUAL[name]
    model = build()
    symmetry = infer_symmetry(model, x(3, 4))
    assert sizes(symmetry) == expected
    tensors = {n for n, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    assert set(symmetry.layouts) == tensors
    assert not verify(symmetry, model, x(3, 4)).failed_groups
