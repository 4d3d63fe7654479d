"""Verification does not modify the module, regardless of the module's side effects."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.symmetry import Symmetry
from onebasin.symmetry._verification.probe import Probe
from onebasin.symmetry._verification.verification import verify
from onebasin.symmetry.permutation import Permutation
from tests.symmetry import small_models
from tests.symmetry.verification.cases import CASES, built


def state_of(model: nn.Module) -> dict[str, Any]:
    return {
        "bytes": [tensor.detach().clone() for tensor in model.state_dict().values()],
        "objects": [id(t) for t in [*model.parameters(), *model.buffers()]],
        "flags": [module.training for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "generator": torch.random.get_rng_state(),
        "gradients": [parameter.grad for parameter in model.parameters()],
    }


@pytest.mark.parametrize("case", CASES)
def test_module_is_not_modified(case: str) -> None:
    model, symmetry, x = built(case)
    model.train()
    next(model.children()).eval()
    before, x_before, expected = state_of(model), x.clone(), model(x)
    before["generator"] = torch.random.get_rng_state()
    before["bytes"] = state_of(model)["bytes"]
    verify(symmetry, model, (x,))
    after = state_of(model)
    for name in ("objects", "flags", "attributes", "gradients"):
        assert after[name] == before[name], name
    assert all(map(torch.equal, after["bytes"], before["bytes"]))
    assert torch.equal(after["generator"], before["generator"])
    assert torch.equal(x, x_before)
    assert torch.equal(model(x), expected)


class Remembers(nn.Module):
    """Writes into a buffer, an attribute and its input, and stores its weight in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 2)
        self.weights = [self.down.weight]
        self.register_buffer("count", torch.zeros(()))
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        x.mul_(2)
        self.last = self.up(x).relu()
        return nn.functional.linear(self.last, self.weights[0]) * self.count


def test_side_effects_of_the_forward_pass_are_reverted() -> None:
    model, x = Remembers(), torch.ones(2, 4)
    spec = {"up.weight": ("h", None), "up.bias": ("h",), "down.weight": (None, "h")}
    verification = verify(Symmetry.from_spec({**spec, "down.bias": (None,)}, model), model, (x,))
    assert verification.failed_groups == {}
    assert list(verification.controls) == ["h"]
    assert model.last is None
    assert float(model.count) == 0
    assert model.weights[0] is model.down.weight
    assert x.tolist() == torch.ones(2, 4).tolist()


def test_runs_start_from_the_same_state() -> None:
    model, x = Remembers(), torch.ones(2, 4)
    spec = {"up.weight": ("h", None), "up.bias": ("h",), "down.weight": (None, "h")}
    symmetry = Symmetry.from_spec({**spec, "down.bias": (None,)}, model)
    probe = Probe(symmetry, model, (x,), {}, seed=0, outputs=None)
    tensors = probe.permuted(Permutation.identity(symmetry))
    (first,), (second,) = probe.run(tensors), probe.run(tensors)
    assert torch.equal(first, second)


def test_module_is_restored_when_forward_raises() -> None:
    model, symmetry, _ = built("mlp")
    before = state_of(model)
    with pytest.raises(OneBasinError, match=r"Sequential failed in float64 on the example"):
        verify(symmetry, model, (torch.randn(3, 5),))
    assert state_of(model)["objects"] == before["objects"]
    assert state_of(model)["flags"] == before["flags"]


def test_random_operators_are_seeded() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, _ = small_models.mlp()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x + torch.rand_like(x))

    model, (_, symmetry) = Noisy(), small_models.mlp()
    layouts = {f"net.{name}": dims for name, dims in symmetry.layouts.items()}
    symmetry, x = replace(symmetry, layouts=layouts), torch.randn(2, 4)
    verifications = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        verifications.append(verify(symmetry, model, (x,)))
    assert verifications[0].failed_groups == {}
    assert verifications[0].controls == verifications[1].controls


def test_nondeterministic_model_raises() -> None:
    class Counting(nn.Module):
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            Counting.calls += 1
            return self.net(x) * Counting.calls

    model = Counting()
    symmetry = Symmetry.from_spec({"net.weight": ("o", None), "net.bias": ("o",)}, model)
    with pytest.raises(OneBasinError, match="not deterministic"):
        verify(symmetry, model, (torch.randn(2, 4),))


def test_submodule_with_two_names() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = self.second = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).relu()).sum(-1)

    model = Twice()
    weight, before = model.first.weight, model.first.weight.detach().clone()
    symmetry = Symmetry.from_spec({"first.weight": (None, None), "first.bias": (None,)}, model)
    verify(symmetry, model, (torch.randn(2, 4),))
    assert model.first.weight is weight
    assert torch.equal(weight, before)


def test_weight_norm_keeps_its_weight() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 8))
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(8, 2))
    norm = "0.parametrizations.weight.original"
    spec = {f"{norm}0": ("h", None), f"{norm}1": ("h", None), "0.bias": ("h",)}
    spec |= {"2.weight": (None, "h"), "2.bias": (None,)}
    verification = verify(Symmetry.from_spec(spec, model), model, (torch.randn(2, 4),))
    assert verification.failed_groups == {}
    assert list(verification.controls) == ["h"]


def test_low_precision_models_are_verified_in_float64() -> None:
    model, symmetry, x = built("mlp")
    verification = verify(
        symmetry, copy.deepcopy(model).to(torch.bfloat16), (x.to(torch.bfloat16),)
    )
    assert verification.failed_groups == {}
    assert verification.max_error < 1e-12
